"""Where a fit stands, in one file that is always whole: state, key, history.

One safetensors file, written beside and renamed (`storage/files.py`), rather than orbax: the state is a handful of
arrays that fit one host, and a rename is all the transaction that they need. Several processes write one file, through
the first of them, and all read it; states too large for one host would need orbax. A checkpoint belongs to one fit:
model, algorithm, key and data are compared before anything is taken from it. Next file to read: `fit.py`.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import safetensors.numpy
from jax.sharding import NamedSharding, PartitionSpec

from jaxdpmm.inference.history import Epoch
from jaxdpmm.storage.descriptions import as_type
from jaxdpmm.storage.files import remove_partial_files, replace_file
from jaxdpmm.storage.tree_store import TreeFormat, metadata_of, named_leaves, read_tree

FILE_NAME = "checkpoint.safetensors"
FORMAT_VERSION = 2
CHECKPOINT_FILE = TreeFormat(
    key="jaxdpmm-checkpoint",
    version=FORMAT_VERSION,
    noun="a checkpoint as jaxdpmm wrote it",
    remedy="restore a copy, or move it away to begin anew",
)


class _Description(msgspec.Struct, forbid_unknown_fields=True):
    """What the header of a checkpoint says."""

    fit: dict[str, Any]
    history: tuple[Epoch, ...]


class Progress(NamedTuple):
    """Where a fit stands at the end of a sweep.

    Attributes:
        state: the algorithm's.
        key: for the sweeps to come.
        history: the sweeps so far.
    """

    state: Any
    key: Any
    history: tuple[Epoch, ...]


class Checkpoint:
    """The checkpoint of one fit in one folder."""

    def __init__(self, folder: str | os.PathLike, fit: Mapping[str, Any]):
        """Make the folder if it is not there.

        Args:
            folder: where; made if it does not exist.
            fit: what identifies the fit, as JSON.

        Raises:
            ValueError: there is something else of this name.
        """
        self._folder = Path(folder)
        self._path = self._folder / FILE_NAME
        self._fit = json.loads(json.dumps(fit))
        if self._folder.exists() and not self._folder.is_dir():
            raise ValueError(
                f"checkpoint must be a folder, got the file {self._folder}; give another name."
            )
        if jax.process_index() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_partial_files(self._folder)

    def save(self, progress: Progress) -> None:
        """Replace the checkpoint; all processes call this, the first one writes.

        Raises:
            OSError: the disk is full or cannot be written; the last checkpoint is as it was.
        """
        tensors = _named({"state": progress.state, "key": progress.key})
        if jax.process_index() != 0:
            return
        facts = {"fit": self._fit, "history": _finite_or_none(progress.history)}
        metadata = metadata_of(CHECKPOINT_FILE, facts, tensors)
        replace_file(self._path, lambda path: safetensors.numpy.save_file(tensors, path, metadata))

    def load(self, start: Progress) -> Progress:
        """The progress that was saved, or `start` if there is none.

        Args:
            start: a new fit, for the structure, the types and the places of its arrays.

        Raises:
            ValueError: the file is damaged, of another format, or of another fit.
        """
        if not self._path.exists():
            return start
        described, tensors = read_tree(self._path, CHECKPOINT_FILE)
        with CHECKPOINT_FILE.reading(self._path):
            description = as_type(described, _Description)
            _check_numbering(description.history)
        self._check_fit(description.fit)
        template = {"state": start.state, "key": start.key}
        self._check_shapes(_named(template), tensors)
        leaves = [_like(leaf, tensors[name]) for name, leaf in named_leaves(template).items()]
        tree = jax.tree.unflatten(jax.tree.structure(template), leaves)
        return Progress(tree["state"], tree["key"], description.history)

    def _check_fit(self, found: Mapping[str, Any]) -> None:
        differing = [name for name in self._fit if found.get(name) != self._fit[name]]
        if differing:
            name = differing[0]
            raise ValueError(
                f"checkpoint must be of the same fit, got one in {self._folder} with {name} = "
                f"{found.get(name)!r} where this fit has {self._fit[name]!r}; give another folder or that {name}."
            )

    def _check_shapes(
        self, wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
    ) -> None:
        def describe(tensors: Any) -> Any:
            return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in tensors.items()}

        left, right = describe(wanted), describe(found)
        differing = sorted(name for name in left | right if left.get(name) != right.get(name))
        if differing:
            name = differing[0]
            raise ValueError(
                f"checkpoint must hold the state of this algorithm, got one in {self._folder} whose {name} is "
                f"{right.get(name)}, here {left.get(name)}; give another folder, or the settings of then."
            )


def _finite_or_none(value: Any) -> Any:
    """Diagnostics as JSON, which has no nan and no infinity: None in their place."""
    if isinstance(value, dict):
        return {name: _finite_or_none(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_numbering(history: tuple[Epoch, ...]) -> None:
    if [epoch.number for epoch in history] != list(range(1, len(history) + 1)):
        raise ValueError("sweeps that are not numbered from 1 on")


def _named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves on the host under the names of their places; random keys as their data."""
    return {name: np.array(_on_host(leaf), order="C") for name, leaf in named_leaves(tree).items()}


def _on_host(leaf: Any) -> Any:
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        everywhere = NamedSharding(leaf.sharding.mesh, PartitionSpec())  # type: ignore[attr-defined]
        return jax.jit(lambda whole: whole, out_shardings=everywhere)(leaf)
    return leaf


def _like(leaf: Any, stored: np.ndarray) -> Any:
    """The stored array in the place of a leaf of a new fit."""
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(stored), impl=jax.random.key_impl(leaf))
    return jax.device_put(stored, leaf.sharding) if leaf.committed else jnp.asarray(stored)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
