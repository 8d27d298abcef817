"""Writes the files of format version 1 that later versions have to read: a model, a detector, a checkpoint, a store.

Run it with the version whose files they are, never again with another:
    PYTHONPATH=tests python tests/reference/golden/make_files.py tests/reference/golden/version_1
"""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import jaxdpmm
from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.families import GaussianLowRank, VonMisesFisher
from jaxdpmm.features import load_backbone
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.images.layouts import read_mvtec
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.persist import Model, save_model
from jaxdpmm.sticks import DirichletProcess, PitmanYor, SymmetricDirichlet

X = np.concatenate([np.random.default_rng(0).normal(5 * k, 1, size=(20, 2)) for k in range(2)])
MIXTURE = jaxdpmm.Mixture(jaxdpmm.GaussianFull(2), 2, jaxdpmm.DirichletProcess(False))
DIRECTIONS = np.random.default_rng(0).normal(size=(24, 3))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
MIXTURES = {
    "full": (jaxdpmm.GaussianFull(3), DirichletProcess(False)),
    "diagonal": (jaxdpmm.GaussianDiagonal(3), PitmanYor(0.25)),
    "low-rank": (GaussianLowRank(3, 1), SymmetricDirichlet()),
    "directions": (VonMisesFisher(3), DirichletProcess()),
}


def main(folder: Path) -> None:
    """Write all of them into one folder."""
    from synthetic import write_backbone, write_mvtec

    folder.mkdir(parents=True, exist_ok=True)
    prior = jaxdpmm.default_prior(MIXTURE, X)
    start = jaxdpmm.initialize(MIXTURE, prior, X, key=jax.random.key(0))
    result = jaxdpmm.fit(
        memoized(MIXTURE, prior),
        X,
        start,
        num_epochs=2,
        batch_size=20,
        checkpoint=folder / "checkpoint",
    )
    arrays = {"threshold/image": np.array([1.5, np.inf])}
    settings = {"layers": [8], "name": "model of version 1", "rate": 0.05, "none": None}
    save_model(
        folder / "model.safetensors", Model(MIXTURE, prior, result.posterior, settings, arrays)
    )
    for name, (family, sticks) in MIXTURES.items():
        mixture = jaxdpmm.Mixture(family, 2, sticks)
        prior = jaxdpmm.default_prior(mixture, DIRECTIONS)
        posterior = jaxdpmm.initialize(mixture, prior, DIRECTIONS, key=jax.random.key(0))
        settings = {"layers": [8], "rate": 0.5, "name": "a", "none": None, "flag": True}
        model = Model(mixture, prior, posterior, settings, {"more": np.arange(3)})
        save_model(folder / f"{name}.safetensors", model)
    with FeatureWriter(folder / "store", settings={"layer": 8}, shard_bytes=200) as writer:
        for name in ("a", "b", "c"):
            writer.append(X[: 10 + len(name)], name)
    with tempfile.TemporaryDirectory() as scratch:
        backbone = load_backbone(write_backbone(Path(scratch) / "tiny"))._replace(name="tiny")
        train = read_mvtec(write_mvtec(Path(scratch) / "data")).train
        config = DetectorConfig(
            "tiny", short_side=84, num_components=2, num_principal=3, held_out=0.0
        )
        detector = Detector.fit(train[:5], config, validation=train[5:], backbone=backbone)
        detector.save(folder / "detector.safetensors")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(Path(sys.argv[1]))
