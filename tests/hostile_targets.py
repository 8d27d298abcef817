"""Small files of every kind that the library reads, each with the mutations that are its own and with its reader.

A reader returns what the file means, as JSON and arrays, so that two readings can be compared; `faithful` tells whether
an honest mutation that was accepted is really what was read.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from dinov2_random import write_checkpoint
from mutations import (
    Files,
    Mutation,
    Tensors,
    choose,
    digest_of,
    in_file,
    json_text,
    mutate_arrays,
    mutate_bytes,
    mutate_json,
    read_tensors,
    unzipped,
    write_tensors,
    zipped,
)

from jaxdpmm.detection.stored import load_detector_model
from jaxdpmm.export import export_scorer, load_scorer
from jaxdpmm.features import load_backbone
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.inference import checkpoint as checkpoints
from jaxdpmm.inference.history import Epoch
from jaxdpmm.persist import Model, load_model
from jaxdpmm.scoring import predictive, score
from jaxdpmm.tree_store import named_leaves

GOLDEN = Path(__file__).parent / "reference" / "golden" / "version_1"
POINTS = np.random.default_rng(0).normal(size=(24, 3))
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)
TINY = {
    "model_type": "dinov2_with_registers",
    "num_register_tokens": 1,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "mlp_ratio": 2,
    "hidden_act": "gelu",
}


class Target(NamedTuple):
    """One kind of file.

    Attributes:
        files: a whole one, by name within a folder.
        read: what a folder means: description and arrays.
        mutate: one mutation.
        says: what an honest file says, read without any check; None where `read` cannot but agree with the file.
    """

    files: Files
    read: Callable[[Path], tuple[Any, dict[str, np.ndarray]]]
    mutate: Callable[[np.random.Generator, Files], Mutation]
    says: Callable[[Files], tuple[Any, dict[str, np.ndarray]]] | None = None


def make_target(name: str, folder: Path) -> Target:
    """One of `NAMES`, made in an empty folder."""
    return MAKERS[name](folder)


def _files(folder: Path, pattern: str) -> Files:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


# ------------------------------------------------------------------ model files


def _model(name: str) -> Target:
    whole = {"model": (GOLDEN / f"{name}.safetensors").read_bytes()}
    return Target(whole, _read_model, _tree("model"), _model_says)


def _read_model(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    return _meaning(load_model(folder / "model"))


def _read_detector(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    return _meaning(load_detector_model(folder / "detector.safetensors")[1])


def _meaning(model: Model) -> tuple[Any, dict[str, np.ndarray]]:
    """What a model file means: mixture, settings, arrays, and the scores of points, which are finite."""
    trees = {"prior": model.prior, "posterior": model.posterior}
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(trees).items()}
    x = POINTS[:4].astype(model.posterior.counts.dtype)
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
    """Mutations of a file of `tree_store.py`, whose description stands under `field`."""

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


_DIGESTED = ("format_version", "sha256")


# ------------------------------------------------------------------ checkpoints


def _detector() -> Target:
    whole = _files(GOLDEN, "detector.safetensors")
    return Target(whole, _read_detector, _tree("model"), _model_says)


def _checkpoint(folder: Path) -> Target:
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

    return Target(_files(folder, "*"), read, _tree(None), says)


def _plain(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


# ------------------------------------------------------------------ feature stores


def _store(whole: Files) -> Target:
    return Target(whole, _read_store, _mutate_store)


def _digested_store(folder: Path) -> Target:
    """Of the present version, whose index has a digest."""
    with FeatureWriter(folder / "store", settings={"layer": 8}, shard_bytes=100) as writer:
        for name in ("a", "b", "c"):
            writer.append(POINTS[:7], name)
    return _store({n: c for n, c in _files(folder / "store", "*").items() if n[0] != "."})


def _read_store(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    store = FeatureStore(folder)
    store.verify()
    rows = store[:]
    assert rows.shape == store.shape
    assert np.isfinite(rows).all(), "features that are not finite"
    np.testing.assert_array_equal(store[np.arange(len(store))], rows)
    names = [[name, part.start, part.stop] for name, part in store.named_rows()]
    return {"settings": store.settings, "names": names, "dtype": str(store.dtype)}, {"rows": rows}


def _mutate_store(random: np.random.Generator, files: Files) -> Mutation:
    name = choose(random, sorted(files))
    if random.random() < 0.3:
        return in_file(files, name, lambda content: mutate_bytes(random, content))
    honest = bool(random.random() < 0.7)
    index, changed = json.loads(files["index.json"]), dict(files)
    digest = index.pop("sha256", None)
    if name == "index.json":
        index, what = mutate_json(random, index)
    elif name.endswith(".safetensors"):
        arrays, what = mutate_arrays(random, read_tensors(files[name]).arrays)
        changed[name] = write_tensors(Tensors({}, arrays))
        for shard in index["shards"] if honest and "features" in arrays else ():
            if shard["file"] == name:
                rows = np.ascontiguousarray(arrays["features"])
                shard["sha256"] = sha256(rows.data).hexdigest()
    else:
        return in_file(files, name, lambda content: mutate_bytes(random, content))
    if digest is not None and isinstance(index, dict):
        if honest:
            digest = sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
        index = {**index, "sha256": digest}
    changed["index.json"] = json_text(index).encode()
    return Mutation(changed, f"{name}: {what}", honest or (digest is None and name == "index.json"))


def _json_file(random: np.random.Generator, files: Files, name: str) -> Mutation:
    """A file that is JSON, which has no digest of its own, altered."""

    def change(content: bytes) -> tuple[bytes, str]:
        value, what = mutate_json(random, json.loads(content))
        return json_text(value).encode(), what

    return in_file(files, name, change, honest=True)


# ------------------------------------------------------------------ exported scorers


def _export(folder: Path) -> Target:
    model = load_model(GOLDEN / "model.safetensors")
    export_scorer(model, folder / "scorer", platforms=("cpu",))

    def read(where: Path) -> tuple[Any, dict[str, np.ndarray]]:
        load_scorer(where / "scorer")
        inside = unzipped((where / "scorer").read_bytes())
        return json.loads(inside["about.json"]), {
            "program": np.frombuffer(inside["scorer.bin"], np.uint8)
        }

    def mutate(random: np.random.Generator, files: Files) -> Mutation:
        inside = unzipped(files["scorer"])
        kind = choose(random, ("bytes", "about", "about", "about.json", "scorer.bin", "missing"))
        if kind == "bytes":
            return in_file(files, "scorer", lambda content: mutate_bytes(random, content))
        if kind == "missing":
            del inside[choose(random, sorted(inside))]
            return Mutation({"scorer": zipped(inside)}, "missing member", honest=False)
        if kind == "about":
            changed = _json_file(random, inside, "about.json")
        else:
            changed = in_file(inside, kind, lambda content: mutate_bytes(random, content))
        return Mutation({"scorer": zipped(changed.files)}, changed.what, honest=kind == "about")

    return Target({"scorer": (folder / "scorer").read_bytes()}, read, mutate)


# ------------------------------------------------------------------ Hugging Face folders


def _weights(folder: Path) -> Target:
    write_checkpoint(folder, TINY)
    return Target(_files(folder, "*"), _read_weights, _mutate_weights)


def _sharded(folder: Path) -> Target:
    files = _files(write_checkpoint(folder, TINY), "*")
    arrays = read_tensors(files.pop("model.safetensors")).arrays
    where = {name: f"model-{place % 2}.safetensors" for place, name in enumerate(sorted(arrays))}
    for file in set(where.values()):
        part = {name: arrays[name] for name in where if where[name] == file}
        files[file] = write_tensors(Tensors({}, part))
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    return Target(files, _read_weights, _mutate_weights)


def _read_weights(folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    backbone = load_backbone(folder)
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(backbone.params).items()}
    assert all(np.isfinite(array).all() for array in arrays.values()), "weights are not finite"
    return vars(backbone.config), arrays


def _mutate_weights(random: np.random.Generator, files: Files) -> Mutation:
    """Weights have no digest at all: every mutation is honest, but a change of bits is a change of weights."""
    name = choose(random, sorted(files))
    if random.random() < 0.2:
        return in_file(files, name, lambda content: mutate_bytes(random, content), honest=True)
    if name.endswith(".json"):
        return _json_file(random, files, name)
    arrays, what = mutate_arrays(random, read_tensors(files[name]).arrays)
    return Mutation(
        {**files, name: write_tensors(Tensors({}, arrays))}, f"{name}: {what}", honest=True
    )


MAKERS: dict[str, Callable[[Path], Target]] = {
    "model-full": lambda _: _model("full"),
    "model-diagonal": lambda _: _model("diagonal"),
    "model-low-rank": lambda _: _model("low-rank"),
    "model-directions": lambda _: _model("directions"),
    "detector": lambda _: _detector(),
    "checkpoint": _checkpoint,
    "store": lambda _: _store(_files(GOLDEN / "store", "*")),
    "digested-store": _digested_store,
    "export": _export,
    "weights": _weights,
    "sharded-weights": _sharded,
}
NAMES = tuple(MAKERS)
