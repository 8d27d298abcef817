"""Training images that the mixture itself finds atypical, for `ideas.py`: left out, kept, or where normal ends.

The figure is the false positive rate at a true positive rate of 95 % on hard normal images, the half of the normal test
images that the default detector finds most anomalous.
"""

import numpy as np
from ideas_data import DENSITY, Grids, Setting, features_of, figures, whole_scores
from ideas_more import Outcome

from jaxdpmm.detection import compile_scorer
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.leaving_out import chosen_images, leave_images_out
from jaxdpmm.detection.scores.joint import columns
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.scoring import fused_scores, learn_fusion

SHARE = 0.1  # of the training images, those of highest score without themselves
FOUND = 0.95  # true positive rate


def atypical(setting: Setting) -> Outcome:
    """The most atypical tenth of the training images kept, as by default, against the same detector without them.

    Beside it: the detector's score and the density, fused as the held-out images say, and as the atypical ones do.
    """
    left_out = leave_images_out(setting.state, setting.patches, setting.config)
    scores = np.array([image.score for image in left_out.images])
    is_typical = scores <= np.quantile(scores, 1 - SHARE)
    typical = chosen_images(setting.patches, is_typical, setting.config.rotations)
    fewer = fit_mixture(typical.features, setting.config)
    score = compile_scorer(*fewer.scorer(setting.config.score))
    without = [np.asarray(score(one)) for one in features_of(setting.test)]
    odd = [grid for grid, typical in zip(setting.train, is_typical, strict=True) if not typical]
    fused = {
        "fused": _fused(setting, setting.state, features_of(setting.held_out)),
        "fused_by_atypical": _fused(setting, fewer, odd),
    }
    rates = {"without": without, "with": setting.base_test, **fused}
    more = {"hard_fpr95": {name: _hard_rate(setting, grids) for name, grids in rates.items()}}
    more |= {name: figures(setting, grids) for name, grids in fused.items()}
    return Outcome(setting.base_test, [0.0, 0.0], base=without, more=more)


def _fused(setting: Setting, state: DetectorState, normal: Grids) -> Grids:
    """The detector's score and the density as one, by how patches of some normal images score."""
    mixture = state.mixture
    both = compile_scorer(columns(mixture, (str(setting.config.score), DENSITY)), state.posterior)
    fusion = learn_fusion(np.concatenate([both(one).reshape(-1, 2) for one in normal]))
    return [
        np.asarray(fused_scores(fusion, both(one).reshape(-1, 2))).reshape(one.shape[:2])
        for one in features_of(setting.test)
    ]


def _hard_rate(setting: Setting, grids: Grids) -> float:
    """Share of the hard normal images above the score that 95 % of the anomalous ones reach."""
    is_normal = np.array([not one.record.label for one in setting.test])
    usual, own = (np.array(whole_scores(setting, one)) for one in (setting.base_test, grids))
    is_hard = is_normal & (usual >= np.median(usual[is_normal]))
    return float(np.mean(own[is_hard] >= np.quantile(own[~is_normal], 1 - FOUND)))
