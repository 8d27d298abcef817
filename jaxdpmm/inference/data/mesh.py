"""Data on many devices and many machines: a mesh, and batches that are cut over it.

`ShardedSource` puts batches on the mesh, each process its own rows (after `jax.distributed.initialize()`).

    mesh = device_mesh()
    algorithm = cavi(mixture, prior, sharded(dense, mesh))
    fit(algorithm, ShardedSource(ArraySource(x, family), mesh), replicated(posterior, mesh))

Next file to read: `../local_steps/sharded.py`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PRNGKeyArray

from jaxdpmm.inference.data.arrays import DataSource, digest, padded
from jaxdpmm.inference.data.pieces import sample_source
from jaxdpmm.model import Batch, Posterior

DATA = "data"
COMPONENTS = "components"
BATCH_SPEC: Any = Batch(P(DATA), P(DATA), P(), P(), P())  # type: ignore[arg-type]

Tree = TypeVar("Tree")


def device_mesh(num_component_shards: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """All devices of all processes in a mesh of the axes "data" and "components".

    Args:
        num_component_shards: parts that the components are cut into; neighbouring devices share points.
        devices: by default all.

    Raises:
        ValueError: the devices cannot be divided so.
    """
    devices = jax.devices() if devices is None else devices
    if num_component_shards < 1 or len(devices) % num_component_shards:
        raise ValueError(
            f"num_component_shards must divide the {len(devices)} devices, got {num_component_shards}; use 1 "
            "unless the components do not fit one device."
        )
    return Mesh(np.asarray(devices).reshape(-1, num_component_shards), (DATA, COMPONENTS))


def replicated(tree: Tree, mesh: Mesh) -> Tree:
    """The same tree on every device of the mesh; in all processes it must be the same to begin with."""
    return _place(tree, mesh, P())


def component_sharded(posterior: Posterior, mesh: Mesh) -> Posterior:
    """A posterior whose components are cut over the mesh's axis "components", to start `sharded_components` from."""
    components = _place(posterior.components, mesh, P(COMPONENTS))
    return replicated(posterior, mesh)._replace(components=components)


class ShardedSource:
    """Another source's batches on a mesh, cut along the points; of several processes, each feeds its own rows.

    Batches are padded until they can be divided. A process whose data are at an end before those of the others gives
    points of weight zero. Where the shards of the components lie in different processes, these feed the same rows.
    """

    def __init__(self, source: DataSource, mesh: Mesh):
        """Agree with the other processes on number and size of the batches.

        Args:
            source: of this process's own points; for equal work, as many as in the others.
            mesh: as `device_mesh` makes it.
        """
        self._source, self._mesh = source, mesh
        num_devices, num_copies = len(mesh.local_devices), mesh.size // mesh.shape[DATA]
        num_shards = max(1, num_devices // num_copies)
        self._num_alike = max(1, num_copies // num_devices)  # processes that feed the same rows
        rows = -(-source.batch_size // num_shards)
        own = np.array([rows, source.num_batches, source.total_weight], np.float64)
        rows_of, batches_of, weights = _from_all(own).T
        self._local_size = int(rows_of.max()) * num_shards
        self._same_number = bool((batches_of == batches_of[0]).all())
        self.num_batches = int(batches_of.max())
        self.batch_size = int(rows_of.max()) * mesh.shape[DATA]
        self.total_weight = float(weights.sum()) / self._num_alike
        prints = np.array([int(digest(getattr(source, "fingerprint", "")), 16)])
        self.fingerprint = digest(_from_all(prints))
        self._cache: dict[int, Batch] = {}

    def sweep(self, key: PRNGKeyArray | None = None) -> Iterator[Batch]:
        """Batches of all processes, which sweep at the same time.

        Args:
            key: for a random order, the same in all processes; without effect where they have different numbers
                of batches.
        """
        sweep = getattr(self._source, "host_sweep", self._source.sweep)
        batches = sweep(key) if key is not None and self._same_number else sweep()
        batch: Any = None
        for position in range(self.num_batches):
            batch = next(batches, None) or _emptied(batch, position)
            is_last = np.asarray(position == self.num_batches - 1)
            yield self._on_mesh(batch)._replace(is_last=_put(is_last, self._mesh, P()))

    def sample(self, key: PRNGKeyArray, size: int) -> np.ndarray:
        """At most `size` points of all processes, the same in each, about as many of each as it has."""
        share = self._source.total_weight / self.total_weight
        key_own = jax.random.fold_in(key, jax.process_index())
        own = sample_source(key_own, self._source, int(size * share + 1e-6))
        return _rows_from_all(own, self._num_alike)

    def _on_mesh(self, batch: Batch) -> Batch:
        slot = int(batch.slot)
        if slot in self._cache:
            return self._cache[slot]
        x, weight = padded(np.asarray(batch.x), np.asarray(batch.weight), self._local_size)
        total = np.asarray(self.total_weight, weight.dtype)
        parts = Batch(x, weight, np.asarray(batch.slot), np.asarray(False), total)  # type: ignore
        placed = Batch(
            *(_put(part, self._mesh, spec) for part, spec in zip(parts, BATCH_SPEC, strict=True))
        )
        if getattr(self._source, "is_kept", False):
            self._cache[slot] = placed
        return placed


def _emptied(batch: Batch, slot: int) -> Batch:
    """Points of weight zero, for a process that has no more."""
    nothing = np.zeros_like(np.asarray(batch.weight))
    return batch._replace(weight=nothing, slot=np.asarray(slot, np.int32))  # type: ignore[arg-type]


def _place(tree: Any, mesh: Mesh, spec: P) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf), sharding), tree)


def _put(rows: np.ndarray, mesh: Mesh, spec: P) -> Array:
    return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), rows)


def _from_all(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, of one shape, stacked; as bytes, so that 64 bits stay 64 bits."""
    if jax.process_count() == 1:
        return array[None]
    sent = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    received = np.asarray(multihost_utils.process_allgather(sent))
    return np.frombuffer(received.tobytes(), array.dtype).reshape(-1, *array.shape)


def _rows_from_all(rows: np.ndarray, num_alike: int) -> np.ndarray:
    """The rows of all processes, of one of those that feed the same."""
    sizes = _from_all(np.array(len(rows)))
    whole = np.zeros((int(sizes.max()), *rows.shape[1:]), rows.dtype)
    whole[: len(rows)] = rows
    parts = [part[:size] for part, size in zip(_from_all(whole), sizes, strict=True)]
    return np.concatenate(parts[::num_alike])
