"""Feature stores, exported scorers and Hugging Face folders under mutation."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from dinov2_random import write_checkpoint
from hostile_base import GOLDEN, Target, files_of, mutate_json_file
from mutations import (
    Files,
    Mutation,
    Tensors,
    choose,
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

from jaxdpmm.export import export_scorer, load_scorer
from jaxdpmm.features import load_backbone
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.store_writer import FeatureWriter
from jaxdpmm.persist import load_model
from jaxdpmm.storage.tree_store import named_leaves

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


def store_target(whole: Files) -> Target:
    return Target(whole, _read_store, _mutate_store)


def digested_store_target(folder: Path) -> Target:
    """Of the present version, whose index has a digest."""
    with FeatureWriter(folder / "store", settings={"layer": 8}, shard_bytes=100) as writer:
        for name in ("a", "b", "c"):
            writer.append(np.arange(21.0).reshape(7, 3), name)
    return store_target({n: c for n, c in files_of(folder / "store", "*").items() if n[0] != "."})


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
    """The index of version 1 has no digest, so that a change of it is honest always."""
    name = choose(random, sorted(files))
    index, changed = json.loads(files["index.json"]), dict(files)
    digest = index.pop("sha256", None)
    bare = digest is None and name == "index.json"
    if random.random() < 0.3:
        return in_file(files, name, lambda content: mutate_bytes(random, content), bare)
    honest = bare or bool(random.random() < 0.7)
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
    return Mutation(changed, f"{name}: {what}", honest)


def scorer_target(folder: Path) -> Target:
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
            changed = mutate_json_file(random, inside, "about.json")
        else:
            changed = in_file(inside, kind, lambda content: mutate_bytes(random, content))
        return Mutation(
            {"scorer": zipped(changed.files)}, changed.what, honest=kind != "scorer.bin"
        )

    return Target({"scorer": (folder / "scorer").read_bytes()}, read, mutate)


def weights_target(folder: Path) -> Target:
    write_checkpoint(folder, TINY)
    return Target(files_of(folder, "*"), _read_weights, _mutate_weights)


def sharded_weights_target(folder: Path) -> Target:
    files = files_of(write_checkpoint(folder, TINY), "*")
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
        return mutate_json_file(random, files, name)
    arrays, what = mutate_arrays(random, read_tensors(files[name]).arrays)
    return Mutation(
        {**files, name: write_tensors(Tensors({}, arrays))}, f"{name}: {what}", honest=True
    )
