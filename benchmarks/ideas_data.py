"""A data set with a fitted mixture for `ideas.py`: features, scores, their figures, fused scores."""

import pathlib
import pickle
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdpmm.detection import DetectorConfig, ImagePatches, ScoredImage, compile_scorer
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.calibration import learned_and_held_out
from jaxdpmm.detection.evaluate import labels_of, true_mask
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.maps import image_scores
from jaxdpmm.detection.metrics import ScoreTable, add_scores, area_under_roc, average_precision
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.scores.nearest import components_of
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.detection.training import training_patches
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.scoring import fused_scores, learn_fusion

DENSITY = "nearest_predictive"
MOST_LEARNED, MOST_JUDGED = 60, 70  # images
STRIDE = 3  # rows and columns of pixels, of which every so manieth is counted

Grids = list[np.ndarray]


class Setting(NamedTuple):
    """A data set with a fitted mixture, and the detector's score of all images that were not learned from.

    `spare` are test images that are not judged by. `names` are those of the training images, `patches` what `train` was
    made of, `truth` the anomalous pixels of test images, where they are known. `shared` is for what several ideas need.
    """

    config: DetectorConfig
    state: DetectorState
    train: Grids
    held_out: list[ImagePatches]
    test: list[ImagePatches]
    spare: list[ImagePatches]
    base_held_out: Grids
    base_test: Grids
    names: tuple[str, ...]
    truth: list[np.ndarray | None]
    patches: TrainingPatches
    shared: dict[str, Any]


def fitted_setting(
    data: str, config: DetectorConfig, backbone: Any, cache: Any, fits: pathlib.Path | None = None
) -> Setting:
    """Features of a data set and a mixture of them, which is kept in the folder `fits` for another run."""
    data_set = open_data_set(data)
    learned, held_out = learned_and_held_out(
        data_set.train, data_set.validation, config.held_out, config.seed
    )
    order = np.random.default_rng(config.seed).permutation(len(learned))[:MOST_LEARNED]
    learned = [learned[place] for place in sorted(order)]
    step = -(-len(data_set.test) // MOST_JUDGED)
    spare = [one for place, one in enumerate(data_set.test) if place % step]
    parts = held_out, data_set.test[::step], spare
    patches = training_patches(learned, config, backbone, cache=cache)
    features = np.asarray(patches.features)
    ends = np.cumsum([rows * columns for _, (rows, columns) in patches.sources])
    train = [
        part.reshape(*grid, -1)
        for part, (_, grid) in zip(np.split(features, ends[:-1]), patches.sources, strict=True)
    ]
    kept = fits / f"{pathlib.Path(data).name}-{config.seed}.pkl" if fits else None
    is_kept = kept is not None and kept.exists()
    state = pickle.loads(kept.read_bytes()) if is_kept else fit_mixture(features, config)
    if kept is not None and not is_kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(state))
    score = compile_scorer(*state.scorer(config.score))
    images = [list(cached_patches(part, config, backbone, cache)) if part else [] for part in parts]
    base = ([np.asarray(score(one)) for one in features_of(part)] for part in images[:2])
    names = tuple(pathlib.Path(name).name for name, _ in patches.sources)
    truth = [truth_of(one) for one in images[1]]
    return Setting(config, state, train, *images, *base, names, truth, patches, {})


def features_of(images: Iterable[ImagePatches]) -> Grids:
    """Patch features of each image."""
    return [one.features for one in images]


def timed(function: Callable[[np.ndarray], Any], features: Grids) -> tuple[list[Any], list[float]]:
    """What a function finds in each image, and the seconds of all threads that it takes."""
    found, seconds = [], []
    for one in features:
        begin = time.process_time()
        found.append(jax.block_until_ready(function(one)))
        seconds.append(time.process_time() - begin)
    return found, seconds


def labels_by(state: DetectorState) -> Callable[[np.ndarray], np.ndarray]:
    """Patch features of an image to the component whose mean is nearest to each patch."""
    return lambda features: next(components_of(state, [features]))


def with_base(base: Grids, new: Iterable[np.ndarray]) -> Grids:
    """Of each image the detector's scores and those of an idea, one or several, (J, h, w)."""
    return [
        np.concatenate([one[None], np.asarray(more).reshape(-1, *one.shape)])
        for one, more in zip(base, new, strict=True)
    ]


def fused_grids(normal: Grids, test: Grids, combine: str, in_nats: Collection[int] = ()) -> Grids:
    """Several scores of each patch as one, learned from those of normal images; (J, h, w) each."""
    columns = np.concatenate([one.reshape(len(one), -1).T for one in normal])
    fusion = learn_fusion(columns, combine, in_nats)
    return [
        np.asarray(fused_scores(fusion, one.reshape(len(one), -1).T, combine)).reshape(
            one.shape[1:]
        )
        for one in test
    ]


def whole_scores(setting: Setting, grids: Grids) -> list[float]:
    """Scores of whole images, from those of their patches."""
    fraction = setting.config.top_fraction
    return [float(image_scores(np.asarray(grid)[None], fraction)[0]) for grid in grids]


def figures(
    setting: Setting,
    grids: Grids,
    chosen: Sequence[int] | None = None,
    whole: Sequence[float] | None = None,
) -> dict[str, float | None]:
    """Accuracy on the test images, or some of them; pixels where there are masks."""
    places = range(len(setting.test)) if chosen is None else chosen
    whole = whole_scores(setting, grids) if whole is None else whole
    records = [setting.test[place].record for place in places]
    scores = np.array([whole[place] for place in places], float)
    image = add_scores(None, labels_of(records), scores)
    pixels: ScoreTable | None = None
    for place in places:
        mask = setting.truth[place]
        if mask is not None:
            one = _image(setting.test[place], np.asarray(grids[place]))
            found = one.pixel_scores(setting.config.sigma)[::STRIDE, ::STRIDE]
            pixels = add_scores(pixels, mask, found)
    has_pixels = pixels is not None and pixels.anomalous.any()
    return {
        "image_auroc": area_under_roc(image),
        "pixel_auroc": area_under_roc(pixels) if has_pixels else None,
        "pixel_aupr": average_precision(pixels) if has_pixels else None,
    }


def truth_of(image: ImagePatches) -> np.ndarray | None:
    """Anomalous pixels of an image, of those that count; None where they are not known."""
    mask = true_mask(_image(image, np.zeros(image.frame.grid)))
    return None if mask is None else mask[::STRIDE, ::STRIDE]


def _image(image: ImagePatches, grid: np.ndarray) -> ScoredImage:
    return ScoredImage(image.record, image.frame, grid, 0.0, 0.0, 0.0)
