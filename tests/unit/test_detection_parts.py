"""A detector of every family, backend and prior of the weights: it learns, explains, and comes back bit for bit."""

from dataclasses import dataclass
from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, texture

from jaxdpmm import choices
from jaxdpmm.detection import Detector, DetectorConfig, stack_patches, stream_patches
from jaxdpmm.families import Block, Family, GaussianDiagonal, GaussianFull, ProductFamily
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.sticks import DirichletProcess

NUM_IMAGES, DIM = 20, 32
BOTH_LAYERS = {"layers": (1, 2)}  # 64 features, more than the 32 factors of low rank


@dataclass(frozen=True)
class KnownSpread(Family):
    """A family as a user writes it: a Gaussian whose mean alone is unknown."""

    dim: int
    spread: float = 0.1

    @property
    def point_shape(self):
        return (self.dim,)

    def sufficient_statistics(self, x):
        return x / self.spread, jnp.ones((), x.dtype)

    def log_partition(self, natural):
        first, count = natural
        return (jnp.sum(first**2) / count - self.dim * jnp.log(count)) / 2

    def log_base_measure(self, x):
        return -jnp.sum((x / self.spread) ** 2) / 2 - self.dim * jnp.log(self.spread)

    def default_prior(self, x, num_components):
        return jnp.mean(x, axis=0) / self.spread, jnp.ones((), x.dtype)


PRODUCT = ProductFamily((Block("what", GaussianDiagonal(DIM - 2)), Block("where", GaussianFull(2))))
CASES = {
    **{name: {"covariance": name} for name in choices.COVARIANCES},
    "low_rank": {"covariance": "low_rank", **BOTH_LAYERS},
    "von_mises_fisher": {"family": "von_mises_fisher"},
    "product": {"family": PRODUCT},
    "own family": {"family": KnownSpread(DIM), "score": "predictive"},
    **{name: {"backend": name} for name in choices.BACKENDS},
    "cut into batches": {"backend": "memoized", "batch_size": 200},
    **{name: {"weights": name} for name in choices.STICKS},
    "own sticks": {"weights": DirichletProcess(infer_concentration=False)},
}
FEW = {"diagonal", "cavi", "dirichlet_process", "von_mises_fisher", "product", "own family"}
FEW |= {"memoized", "gibbs", "paper", "pitman_yor"}
"""Of the others, each of which compiles a step of its own, covariances are in `test_detection_fitting.py` as well."""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Normal images, and as many defective ones."""
    folder = tmp_path_factory.mktemp("textures")
    found = []
    for number in range(2 * NUM_IMAGES):
        is_defective = number >= NUM_IMAGES
        path = folder / f"{number}.png"
        Image.fromarray(texture(number, is_defective)).save(path)
        found.append(ImageRecord(path, int(is_defective)))
    return found[:NUM_IMAGES], found[NUM_IMAGES:]


@pytest.fixture(scope="module")
def patches(records, backbone):
    """Training patches by layers, extracted once."""
    layers = ((2,), BOTH_LAYERS["layers"])
    configs = {of: DetectorConfig("tiny", layers=of, short_side=SIDE) for of in layers}
    return {
        of: stack_patches(stream_patches(records[0], config, backbone), NUM_IMAGES)
        for of, config in configs.items()
    }


def config_of(changes):
    few = {"num_components": 5, "num_epochs": 4, "short_side": SIDE, "layers": (2,)}
    return DetectorConfig("tiny", **{**few, **changes})


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_detector_of_any_parts(name, tmp_path, records, patches, backbone):
    config = config_of(CASES[name])
    detector = Detector.fit_patches(patches[config.layers], config, backbone)
    normal, defective = (
        np.mean([image.score for image in detector.score(part)]) for part in records
    )
    assert defective > normal
    (worst,) = detector.explain(records[1][0], 1)
    assert worst.usual_distance[0] <= worst.usual_distance[1]
    assert 0 < worst.weight <= 1
    detector.save(tmp_path / "first")
    own = {
        name: value
        for name, value in (("family", config.family), ("sticks", config.weights))
        if not isinstance(value, str)
    }
    again = Detector.load(tmp_path / "first", backbone=backbone, **own)
    assert again.config == detector.config
    assert again.state.facts == detector.state.facts
    trees = [(d.state.prior, d.state.posterior, d.state.examples[:2]) for d in (again, detector)]
    chex.assert_trees_all_equal(*trees)
    again.save(tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"covariance": "tied", "backend": "gibbs"}, TypeError, "cannot be sampled"),
        (
            {"family": KnownSpread(DIM), "score": "predictive", "backend": "gibbs"},
            TypeError,
            "cannot be sampled",
        ),
        ({"family": KnownSpread(DIM), "score": "cosine"}, TypeError, "has no point estimate"),
        (
            {"family": KnownSpread(DIM), "score": "predictive", "backend": "online_em"},
            TypeError,
            "has no point estimate",
        ),
        ({"family": "von_mises_fisher", "score": "mahalanobis"}, TypeError, "a Gaussian family"),
        ({"family": "von_mises_fisher", "backend": "paper"}, TypeError, "Gaussian"),
        (
            {"family": KnownSpread(7)},
            ValueError,
            r"family must be one of points of shape \(32,\), .* with points of shape \(7,\); make",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused_before_images_are_read(
    changes, error, message, backbone
):
    absent = [ImageRecord(Path("absent.png"))]
    with pytest.raises(error, match=message):
        Detector.fit(absent, config_of(changes), backbone=backbone)


def test_names_of_parts_that_are_none():
    with pytest.raises(ValueError, match=r"family must be one of .*, got 3; .* or pass a Family\."):
        DetectorConfig(family=3)
    with pytest.raises(ValueError, match=r"got \[\]; .* or pass a StickBreaking"):
        DetectorConfig(weights=[])
    with pytest.raises(ValueError, match=r"backend must be one of cavi, .* got 'svi'; choose"):
        DetectorConfig(backend="svi")
    with pytest.raises(ValueError, match="preset must be one of fast, accurate, paper, got 'best'"):
        DetectorConfig.preset("best")


def test_settings_override_their_preset():
    config = DetectorConfig.preset("paper", num_components=7, short_side=84)
    assert (config.backend, config.num_components, config.short_side) == ("paper", 7, 84)
    assert DetectorConfig.preset("fast").to_dict() == {
        **DetectorConfig().to_dict(),
        **choices.PRESETS["fast"],
    }
