"""Model files, detectors and checkpoints under mutation: description and arrays with one digest."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hostile_base import GOLDEN, Target, files_of
from mutations import (
    Files,
    Mutation,
    Tensors,
    digest_of,
    in_file,
    mutate_arrays,
    mutate_bytes,
    mutate_json,
    read_tensors,
    write_tensors,
)

from jaxdpmm.detection.stored.state import load_detector_model
from jaxdpmm.inference import checkpoint as checkpoints
from jaxdpmm.inference.history import Epoch
from jaxdpmm.persist import Model, load_model
from jaxdpmm.scoring import predictive, score
from jaxdpmm.storage.tree_store import named_leaves

POINTS = np.random.default_rng(0).normal(size=(4, 3))
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)
_DIGESTED = ("format_version", "sha256")


def model_target(name: str) -> Target:
    whole = {"model": (GOLDEN / f"{name}.safetensors").read_bytes()}
    return Target(whole, _read_model, _tree("model"), _model_says)


def _read_model(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    return _meaning(load_model(folder / "model"))


def _read_detector(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    load_detector_model(folder / "detector.safetensors")
    return _meaning(load_model(folder / "detector.safetensors"))


def _meaning(model: Model) -> tuple[Any, dict[str, np.ndarray]]:
    """What a model file means: mixture, settings, arrays, and the scores of points, which are finite."""
    trees = {"prior": model.prior, "posterior": model.posterior}
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(trees).items()}
    x = POINTS.astype(model.posterior.counts.dtype)
    with jax.numpy_dtype_promotion("standard"):  # as users have it; a file may mix types
        scores = score(predictive(model.mixture), model.posterior, x)
    assert np.isfinite(scores).all(), "scores that are not finite"
    fields = {
        "family": _part(model.mixture.family),
        "sticks": _part(model.mixture.sticks),
        "num_components": model.mixture.num_components,
        "settings": model.settings,
    }
    return fields, arrays | {f"arrays/{name}": array for name, array in model.arrays.items()}


def _model_says(files: Files) -> tuple[Any, dict[str, np.ndarray]]:
    header, arrays = _taken_apart(files)
    said = header["model"]
    fields = {
        name: {"class": said[name]["class"], **said[name]["fields"]}
        for name in ("family", "sticks")
    }
    return fields | {name: said[name] for name in ("num_components", "settings")}, arrays


def _taken_apart(files: Files) -> tuple[Any, dict[str, np.ndarray]]:
    (content,) = files.values()
    metadata, arrays = read_tensors(content)
    (header,) = metadata.values()
    return header, arrays


def _part(part: Any) -> dict[str, Any]:
    return {"class": type(part).__name__, **vars(part)}


def _tree(field: str | None):
    """Mutations of a file of `storage/tree_store.py`, whose description stands under `field`."""

    def mutate(random: np.random.Generator, files: Files) -> Mutation:
        (name,) = files
        if random.random() < 0.3:
            return in_file(files, name, lambda content: mutate_bytes(random, content))
        honest = bool(random.random() < 0.7)
        return in_file(files, name, lambda content: _altered(random, content, honest), honest)

    def _altered(random, content, honest):
        metadata, arrays = read_tensors(content)
        ((key, header),) = metadata.items()
        if random.random() < 0.1:
            whole, what = mutate_json(random, header)
            return write_tensors(Tensors({key: whole}, arrays)), what
        digested = {name: header[name] for name in _DIGESTED}
        body = {name: header[name] for name in header if name not in _DIGESTED}
        body = body[field] if field else body
        if random.random() < 0.6:
            body, what = mutate_json(random, body)
        else:
            arrays, what = mutate_arrays(random, arrays)
        if honest:
            digested["sha256"] = digest_of(body, arrays)
        whole = {**digested, **({field: body} if field else body)}
        return write_tensors(Tensors({key: whole}, arrays)), what

    return mutate


def detector_target() -> Target:
    whole = files_of(GOLDEN, "detector.safetensors")
    return Target(whole, _read_detector, _tree("model"), _model_says)


def checkpoint_target(folder: Path) -> Target:
    state = {
        "counts": jnp.arange(3.0),
        "labels": jnp.zeros(4, jnp.int32),
        "flag": jnp.asarray(True),
    }
    now = checkpoints.Progress(
        {**state, "key": jax.random.key(3)},
        jax.random.key(4),
        (Epoch(1, -3.5, 2, 0.25, {}), Epoch(2, -3.25, 2, 0.5, {"births": 1, "accepted": [0.5]})),
    )
    fit = {"algorithm": "memoized", "batch_size": 25, "total_weight": 24.0, "key": [0, 7]}
    checkpoints.Checkpoint(folder, fit).save(now)

    def read(where: Path) -> tuple[Any, dict[str, np.ndarray]]:
        found = checkpoints.Checkpoint(where, fit).load(now._replace(history=()))
        tree = {"state": found.state, "key": found.key}
        arrays = {name: np.asarray(_plain(leaf)) for name, leaf in named_leaves(tree).items()}
        assert all(isinstance(epoch, Epoch) for epoch in found.history)
        return {"fit": fit, "history": [list(epoch) for epoch in found.history]}, arrays

    def says(files: Files) -> tuple[Any, dict[str, np.ndarray]]:
        header, arrays = _taken_apart(files)
        history = [list(Epoch(*row)) for row in header["history"]]
        return {"fit": header["fit"], "history": history}, arrays

    return Target(files_of(folder, "*"), read, _tree(None), says)


def _plain(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
