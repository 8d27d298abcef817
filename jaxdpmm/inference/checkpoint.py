"""Where a fit stands, in one file that is always whole: state, key, history.

One safetensors file, written beside and renamed (`files.py`), rather than orbax: the state is a handful of arrays that
fit one host, and a rename is all the transaction that they need. Several processes write one file, through the
first of them, and all read it; states too large for one host would need orbax. A checkpoint belongs to one fit: model,
algorithm, key and data are compared before anything is taken from it. Next file to read: `fit.py`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jax.sharding import NamedSharding, PartitionSpec

from jaxdpmm.files import remove_partial_files, replace_file
from jaxdpmm.inference.history import Epoch

FILE_NAME = "checkpoint.safetensors"
FORMAT_VERSION = 2
_KEY = "jaxdpmm-checkpoint"


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
        facts = {"fit": self._fit, "history": progress.history}
        header = {"format_version": FORMAT_VERSION, "sha256": _digest(facts, tensors), **facts}
        metadata = {_KEY: json.dumps(header)}
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
        header, tensors = self._read()
        self._check_fit(header["fit"])
        template = {"state": start.state, "key": start.key}
        self._check_shapes(_named(template), tensors)
        paths, structure = jax.tree_util.tree_flatten_with_path(template)
        leaves = [_like(leaf, tensors[_name(path)]) for path, leaf in paths]
        tree = jax.tree.unflatten(structure, leaves)
        history = tuple(Epoch(*sweep) for sweep in header["history"])
        return Progress(tree["state"], tree["key"], history)

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            with safetensors.safe_open(self._path, framework="numpy") as file:
                header = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise self._damaged("cut short, altered or something else") from error
        if header["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"{self._path} must have format version {FORMAT_VERSION}, got {header['format_version']}; go on with "
                "the version of jaxdpmm that wrote it, or give another folder."
            )
        if (
            _digest({name: header[name] for name in ("fit", "history")}, tensors)
            != header["sha256"]
        ):
            raise self._damaged("altered (its SHA-256 does not match)")
        return header, tensors

    def _damaged(self, what: str) -> ValueError:
        return ValueError(
            f"{self._path} must be as jaxdpmm wrote it, got a file that is {what}; restore a copy, or move it away to "
            "begin anew."
        )

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
        def describe(tensors):
            return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in tensors.items()}

        left, right = describe(wanted), describe(found)
        differing = sorted(name for name in left | right if left.get(name) != right.get(name))
        if differing:
            name = differing[0]
            raise ValueError(
                f"checkpoint must hold the state of this algorithm, got one in {self._folder} whose {name} is "
                f"{right.get(name)}, here {left.get(name)}; give another folder, or the settings of then."
            )


def _named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves on the host under the names of their places; random keys as their data."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(path): np.array(_on_host(leaf), order="C") for path, leaf in leaves}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


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


def _digest(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    sha = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(f"\n{name} {tensors[name].dtype} {tensors[name].shape}\n".encode())
        sha.update(np.ascontiguousarray(tensors[name]).data)
    return sha.hexdigest()
