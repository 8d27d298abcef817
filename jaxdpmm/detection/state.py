"""What a detector has learned, with a type for each part: mixture, reduction, examples, calibration, facts of the fit.

`stored/state.py` writes a state to a model file and reads it back; no other file knows under which names its parts are
stored. Next file to read: `fitting.py`, which makes a state.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxdpmm.detection.reduction import Reduction, reduced
from jaxdpmm.detection.scores.context import LearnedContext
from jaxdpmm.detection.scores.histograms import Histograms
from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.scoring import SCORERS, Fusion, Scorer


class Survival(NamedTuple):
    """How often normal samples score at least so much, as a step function.

    Attributes:
        scores: ascending, the last one infinite.
        shares: for a score x above the one before and up to this one, the share of samples that score at least x (or a
            little more, where not all scores were kept), averaged over images; the last is 0.
        num_images: I.
    """

    scores: Float[np.ndarray, " T"]
    shares: Float[np.ndarray, " T"]
    num_images: int


class Calibration(NamedTuple):
    """What normal images score that were not learned from.

    Attributes:
        image: whole images.
        patch: patches.
        pixel: pixels of smoothed maps.
        most: the score that three quarters of an image's patches do not exceed, see `calibration.p_value_of_most`;
            None where the model file is older.
    """

    image: Survival
    patch: Survival
    pixel: Survival
    most: Survival | None = None


class Examples(NamedTuple):
    """Training patches by which components are explained, see `diagnosis.py`.

    Attributes:
        places: image, row and column of the patches nearest to each component, -1 where there are none.
        distances: quantiles of the distances of each component's own patches, see `diagnosis.QUANTILES`.
        images: names of the images that `places` counts.
        radius: largest Euclidean distance of a training patch to the centre of its component; None where that is not
            known, or components are no spheres.
    """

    places: Int[np.ndarray, "K E 3"]
    distances: Float[np.ndarray, "K Q"]
    images: tuple[str, ...]
    radius: float | None = None


class TrainingImage(NamedTuple):
    """A training image and how atypical it is.

    Attributes:
        image: its name.
        score: of the image under the mixture without it.
        is_learned: whether the mixture has learned from it; not where `trimming.py` left it out.
    """

    image: str
    score: float
    is_learned: bool = True


class Rows(NamedTuple):
    """What one image has added to a mixture: a row for each component that it has fed.

    Attributes:
        places: numbers of these components, each once.
        counts: how many patches went to each.
        components: their sufficient statistics, leaves lead with M.
    """

    places: Int[np.ndarray, " M"]
    counts: Float[np.ndarray, " M"]
    components: Any


class KeptImage(NamedTuple):
    """What one training image has added to a mixture, and what it looks like to the mixture without it.

    Attributes:
        name: of the image.
        rows: what it has added.
        calibration: scores of the image alone, left out.
        labels: the most probable component of each of its patches, left out; -1 for one that is gone.
        mean_score: of its patches, left out.
    """

    name: str
    rows: Rows
    calibration: Calibration
    labels: Int[np.ndarray, " P"]
    mean_score: float

    @property
    def score(self) -> float:
        """Of the image, left out."""
        return float(self.calibration.image.scores[0])


class Known(NamedTuple):
    """What is known of anomalies, see `scores/known.py`.

    Attributes:
        posterior: of their patches, under the prior of the detector.
        num_images: that they are of.
        log_unknown: log density that stands for anomalies of other kinds.
    """

    posterior: Posterior
    num_images: int
    log_unknown: float


class Unlabelled(NamedTuple):
    """What unlabelled images hold beside normal ones, see `scores/prevalence.py`.

    Attributes:
        posterior: of the patches of both, under the prior of the detector.
        among_unlabelled: in how many unlabelled images each of its components occurs.
        among_normal: the same for normal images.
        num_unlabelled: images.
        num_normal: images.
    """

    posterior: Posterior
    among_unlabelled: Int[np.ndarray, " K"]
    among_normal: Int[np.ndarray, " K"]
    num_unlabelled: int
    num_normal: int


class FitFacts(NamedTuple):
    """What is told of a fit.

    Attributes:
        num_patches: patches that were learned from.
        num_sweeps: sweeps over them.
        converged: whether the tolerance was reached.
        truncation_binds: whether more components would be used than there may be; sweeps tell, and "auto".
        elbo_per_patch: evidence lower bound in nats per patch; None without a sweep, or of a backend without a bound.
        num_images: images that the patches are of; 0 where that is not known.
        num_held_out: images that the calibration is of, not learned from.
        num_left_out: images that the calibration is of, learned from and each left out in turn.
        num_trimmed: training images that look anomalous and were not learned from.
        within_over_between: how wide components are by how far their nearest neighbours lie, see `separation.py`; None
            where components have no means.
        contested: share of training patches that two components claim; None as well.
    """

    num_patches: int
    num_sweeps: int
    converged: bool
    truncation_binds: bool
    elbo_per_patch: float | None
    num_images: int = 0
    num_held_out: int = 0
    num_left_out: int = 0
    num_trimmed: int = 0
    within_over_between: float | None = None
    contested: float | None = None


class DetectorState(NamedTuple):
    """What a detector has learned, from `fit_mixture` on; what is not known yet is None.

    Attributes:
        mixture: static description.
        prior: hyper-parameters.
        posterior: fitted, of the mixture's number of components.
        facts: what is told of the fit.
        reduction: what is done to features before the mixture; None for features as they are.
        examples: training patches of each component.
        calibration: scores of held-out or left-out normal images; None where there were none.
        training_images: by their score without themselves, the most atypical first; none with held-out images.
        fusion: of several scores, or of the context alone; None for one score of a patch.
        context: None where it is none of the scores.
        kept: what each training image has added, see `line/kept.py`; None where that was not kept.
        known: None where the odds are none of the scores.
        unlabelled: None where the discrepancy is none of the scores.
        histograms: what training images are made of; None where images score by their patches.
        colour_limits: scores at which the colours of pictures begin and end, found from training patches.
        backbone_sha256: digest of the backbone's weights.
    """

    mixture: Mixture
    prior: Prior
    posterior: Posterior
    facts: FitFacts
    reduction: Reduction | None = None
    examples: Examples | None = None
    calibration: Calibration | None = None
    colour_limits: tuple[float, float] = (0.0, 1.0)
    backbone_sha256: str | None = None
    training_images: tuple[TrainingImage, ...] = ()
    fusion: Fusion | None = None
    context: LearnedContext | None = None
    kept: tuple[KeptImage, ...] | None = None
    known: Known | None = None
    unlabelled: Unlabelled | None = None
    histograms: Histograms | None = None

    @property
    def num_inputs(self) -> int:
        """Number of features that scores take, before they are reduced."""
        if self.reduction is not None:
            return self.reduction.axes.shape[0]
        (dim,) = self.mixture.family.point_shape or (0,)
        return dim

    def scorer(
        self, name: str, scorers: Mapping[str, Callable[[Mixture], Scorer]] = SCORERS
    ) -> tuple[Scorer, Any]:
        """A score of features as the backbone gives them, and what it is fitted on.

        Args:
            name: of the score.
            scorers: functions of a mixture, by name.
        """
        return reduced(scorers[name](self.mixture)), (self.posterior, self.reduction)
