"""A detector after more normal images, without the old ones, and after some are forgotten: statistics add.

    newer = update(detector, new_records)      # the old images are not needed
    without = forget(newer, [path])            # of a model that keeps its images, see `kept.py`

Both give a new detector and leave the old one as it is. An update is a coordinate step that leaves the old statistics:
responsibilities of the new patches under the mixture so far, then posterior = prior + old + new. Where the mixture
started for coverage, new patches farther from every component than any training patch was get components of their
own, by the rule of that start: farthest first, until none is left outside of that distance, and at most the share of
the patches that the settings say. Thresholds then hold the new images too, each left out in turn.

What an update leaves as it is: the unit of the scores, p-values among the images of the fit. What forgetting leaves as
it is: prior, principal axes and colours of pictures, which were set by a sample of all patches, the usual distances of
`explain`, and thresholds from images that were held out, which do not hold the image.
Next file to read: `drift.py`, which tells when an update is due.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxdpmm import trees
from jaxdpmm.choices import OF_IMAGES, names_of
from jaxdpmm.detection.calibration import merged
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.diagnosis import fewer_examples, more_examples
from jaxdpmm.detection.leaving_out import ImageGroups
from jaxdpmm.detection.line.births import with_births
from jaxdpmm.detection.line.kept import left_out_images, rows_of, total_of, with_thresholds
from jaxdpmm.detection.parts import local_step_of
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.state import DetectorState, FitFacts, KeptImage, Rows, TrainingImage
from jaxdpmm.detection.training import training_patches
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.inference.update import from_stats
from jaxdpmm.leave_out import GroupSums
from jaxdpmm.model import Mixture, empty_stats, expected_readout
from jaxdpmm.storage.files import name_text


def update(
    detector: Detector,
    records: Sequence[ImageRecord],
    *,
    strict: bool = False,
    progress: bool = False,
) -> Detector:
    """A detector that has learned from more normal images.

    Args:
        detector: stays as it is.
        records: normal images that it has not learned from.
        strict: an image that cannot be read is an error, instead of a warning and a gap.
        progress: show bars on standard error.

    Raises:
        ValueError: one of the images is known to the detector, or none could be read.
    """
    check_new(detector.state, records)
    patches = training_patches(records, detector.config, detector.backbone, strict, progress)
    state = updated(detector.state, patches, detector.config, progress=progress)
    return Detector(detector.config, state, detector.backbone)


def forget(detector: Detector, paths: Sequence[str | os.PathLike]) -> Detector:
    """A detector that has never learned from some images, given the assignments of the patches of all others.

    Args:
        detector: that keeps its images; stays as it is.
        paths: of the images, or of folders that they lie in; they need not be there any more.

    Raises:
        ValueError: the detector does not keep its images, a path is of none of them, or no image would be left.
    """
    state = forgotten(detector.state, _names_at(detector.state.kept, paths), detector.config)
    return Detector(detector.config, state, detector.backbone)


def updated(
    state: DetectorState,
    patches: TrainingPatches,
    config: DetectorConfig,
    *,
    progress: bool = False,
) -> DetectorState:
    """The state after more training patches.

    Args:
        state: with images kept or not.
        patches: of new images, with frames.
        config: settings of the fit.
        progress: show a bar on standard error.
    """
    of_images = [name for name in names_of(config.score) if name in OF_IMAGES]
    if of_images:
        raise ValueError(
            f"a model that is updated must have scores of a patch alone, got {' and '.join(of_images)}, which all "
            "training images say what to make of; fit it anew."
        )
    if state.histograms is not None:
        raise ValueError(
            'a model that is updated must have the image score "top", got "divergence", of which it does not keep what '
            "new images are held against; fit it anew."
        )
    groups = ImageGroups(state, patches, config)
    old, seeded = with_births(state, groups)
    rows = rows_of(seeded, groups, local_step_of(config, seeded.mixture))
    kept = state.kept
    if kept is None:
        total = trees.add(old, total_of(seeded, rows))
    else:
        total = total_of(seeded, [*(image.rows for image in kept), *rows])
    posterior = from_stats(seeded.mixture, state.prior, total)
    readout = expected_readout(seeded.mixture, seeded.posterior)
    sums = GroupSums(readout, total, empty_stats(posterior), posterior.sticks)
    after = seeded._replace(posterior=posterior, facts=_more_facts(state, patches, config))
    new = left_out_images(after, ImageGroups(after, patches, config), sums, rows, progress=progress)
    after = after._replace(examples=more_examples(after, patches, state.mixture.num_components))
    if kept is not None:
        trimmed = [image for image in state.training_images if not image.is_learned]
        return with_thresholds(after._replace(kept=(*kept, *new)), config, trimmed)
    return _with_more_thresholds(after, new, config)


def forgotten(
    state: DetectorState, names: Collection[str], config: DetectorConfig
) -> DetectorState:
    """The state without some of the images that it keeps; components that nothing is left of are dropped.

    Args:
        state: that keeps images.
        names: of the images to forget, as they are kept.
        config: settings of the fit.
    """
    left = tuple(image for image in state.kept or () if image.name not in names)
    if state.kept is None:
        raise ValueError(
            "model must keep its images to forget some of them, got one that does not; fit it with keep_images "
            "(--keep-images)."
        )
    if not left:
        raise ValueError(
            "images to forget must leave at least one, got all that the model has learned from; remove its file."
        )
    counts = np.asarray(total_of(state, [image.rows for image in left]).counts)
    active = np.flatnonzero(counts >= 0.5)
    mixture = Mixture(state.mixture.family, len(active), state.mixture.sticks)
    numbers = np.full(len(counts), -1)
    numbers[active] = np.arange(len(active))
    left = tuple(_renumbered(image, numbers) for image in left)
    components = trees.take(state.posterior.components, active)
    like = state.posterior._replace(components=components, counts=state.posterior.counts[active])
    after = state._replace(mixture=mixture, posterior=like, kept=left)
    total = total_of(after, [image.rows for image in left])
    facts = state.facts._replace(
        num_patches=round(float(np.sum(np.asarray(total.counts, np.float64)))),
        num_images=len(left),
        elbo_per_patch=None,
    )
    after = after._replace(
        posterior=from_stats(mixture, state.prior, total),
        facts=facts,
        examples=fewer_examples(state.examples, active, names),
    )
    trimmed = [one for one in state.training_images if not one.is_learned]
    return with_thresholds(after, config, [one for one in trimmed if one.image not in names])


def check_new(state: DetectorState, records: Sequence[ImageRecord]) -> None:
    """Raise `ValueError` where a detector has learned from one of the images, as far as it knows the names of those."""
    names = {image.name for image in state.kept or ()}
    names.update(image.image for image in state.training_images if image.is_learned)
    names.update(state.examples.images if state.examples else ())
    known = {os.path.realpath(name) for name in names}
    found = [record.path for record in records if os.path.realpath(record.path) in known]
    if found:
        raise ValueError(
            f"new images must be ones that the model has not learned from, got {len(found)} that it has, for example "
            f"{name_text(found[0])}; leave them out, or they would count twice."
        )


def _names_at(
    kept: Sequence[KeptImage] | None, paths: Sequence[str | os.PathLike]
) -> frozenset[str]:
    """Names of kept images at paths, or below them."""
    real = {image.name: Path(os.path.realpath(image.name)) for image in kept or ()}
    found: set[str] = set()
    for path in paths:
        place = Path(os.path.realpath(path))
        below = {name for name, own in real.items() if own == place or place in own.parents}
        if real and not below:
            raise ValueError(
                f"images to forget must be among the {len(real)} that the model has learned from, got "
                f"{name_text(Path(path))}, for example {next(iter(real))} is one; give the path that it had at the fit."
            )
        found |= below
    return frozenset(found)


def _more_facts(state: DetectorState, patches: TrainingPatches, config: DetectorConfig) -> FitFacts:
    facts = state.facts
    return facts._replace(
        num_patches=facts.num_patches + len(patches.features),
        num_images=facts.num_images + patches.num_images // config.rotations,
        elbo_per_patch=None,
    )


def _with_more_thresholds(
    state: DetectorState, new: Sequence[KeptImage], config: DetectorConfig
) -> DetectorState:
    """Thresholds and the list of training images with some more images, of a state that keeps none."""
    notes = [TrainingImage(image.name, image.score) for image in new]
    ordered = sorted([*state.training_images, *notes], key=lambda one: -one.score)
    state = state._replace(training_images=tuple(ordered))
    if config.thresholds == "none":
        return state
    before = [] if state.calibration is None else [state.calibration]
    facts = state.facts._replace(num_left_out=state.facts.num_left_out + len(new))
    found = merged([*before, *(image.calibration for image in new)])
    return state._replace(calibration=found, facts=facts)


def _renumbered(image: KeptImage, numbers: np.ndarray) -> KeptImage:
    """A kept image after components were dropped, -1 in their new numbers."""
    places = numbers[image.rows.places]
    stays = places >= 0
    rows = Rows(
        places[stays].astype(np.int32),
        image.rows.counts[stays],
        jax.tree.map(lambda leaf: leaf[stays], image.rows.components),
    )
    labels = np.where(image.labels >= 0, numbers[image.labels], -1).astype(np.int32)
    return image._replace(rows=rows, labels=labels)
