"""Many devices and many machines: points cut over a mesh, statistics summed by `psum`.

Statistics are additive, so the E-step is all that has to know of devices: `sharded` wraps any local step, and every
backend that takes one runs on a mesh. Where K full covariances do not fit one device, `sharded_components` cuts the
components over a second axis as well; a point's normaliser is then the only thing that the shards tell each other.
`ShardedSource` puts batches on the mesh, each process its own rows (after `jax.distributed.initialize()`).

    mesh = device_mesh()
    algorithm = cavi(mixture, prior, sharded(dense, mesh))
    fit(algorithm, ShardedSource(ArraySource(x, family), mesh), replicated(posterior, mesh))

Next file to read: `update.py`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PRNGKeyArray

from jaxdpmm.inference.base import Layout, LocalResult, LocalStep, Memory
from jaxdpmm.inference.data import DataSource, digest, padded
from jaxdpmm.inference.local import sum_over_tiles
from jaxdpmm.inference.sources import sample_source
from jaxdpmm.model import Batch, Mixture, Posterior, Readout, Stats, log_joint, summarize

DATA = "data"
COMPONENTS = "components"

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


def sharded(local_step: LocalStep, mesh: Mesh | AbstractMesh) -> LocalStep:
    """A local step whose points are cut over the mesh's axis "data".

    Args:
        local_step: any whose memory of a batch leads with the points.
        mesh: with an axis "data"; along others the work is repeated.

    Returns:
        A local step that gives the same statistics on every device, those of the whole batch.
    """

    def step(mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        def of_shard(readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
            own = local_step.step(mixture, readout, batch, memory)
            stats, evidence = jax.lax.psum((own.stats, own.log_evidence), DATA)
            return LocalResult(stats, evidence, own.memory)

        run = jax.shard_map(
            of_shard,
            mesh=mesh,
            in_specs=(P(), _BATCH_SPEC, P(DATA)),
            out_specs=LocalResult(P(), P(), P(DATA)),  # type: ignore[arg-type]
            check_vma=False,
        )
        return run(readout, batch, memory)

    return LocalStep(local_step.init, step)


def sharded_components(mesh: Mesh | AbstractMesh) -> LocalStep:
    """The dense local step with points and components cut over the mesh.

    Parameters and statistics of a component stay where it is; only the logarithm of each point's normaliser goes
    round. Start from `component_sharded(posterior, mesh)`.

    Args:
        mesh: with the axes "data" and "components".

    Returns:
        A local step; it raises ValueError if the mesh cannot divide the components.
    """

    def init(mixture: Mixture, layout: Layout) -> Memory:
        del layout
        num_shards = mesh.shape[COMPONENTS]
        if mixture.num_components % num_shards:
            raise ValueError(
                f"num_components must be a multiple of the {num_shards} component shards, got "
                f"{mixture.num_components}; round it up, unused components empty themselves."
            )
        return ()

    def step(mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        def of_shard(readout: Readout, batch: Batch) -> tuple[Stats, Array]:
            def of_tile(x: Array, weight: Float[Array, " T"]) -> tuple[Stats, Array]:
                return _cut_dense(mixture, readout, x, weight)

            stats, evidence = sum_over_tiles(of_tile, batch.x, batch.weight)
            stats = stats._replace(entropy=jax.lax.psum(stats.entropy, COMPONENTS))
            return jax.lax.psum((stats, evidence), DATA)

        cut = P(COMPONENTS)
        run = jax.shard_map(
            of_shard,
            mesh=mesh,
            in_specs=(Readout(cut, cut, P()), _BATCH_SPEC),  # type: ignore[arg-type]
            out_specs=(Stats(cut, cut, P(), P()), P()),  # type: ignore[arg-type]
            check_vma=False,
        )
        return LocalResult(*run(readout, batch), memory)

    return LocalStep(init, step)


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
            *(_put(part, self._mesh, spec) for part, spec in zip(parts, _BATCH_SPEC, strict=True))
        )
        if getattr(self._source, "is_kept", False):
            self._cache[slot] = placed
        return placed


_BATCH_SPEC: Any = Batch(P(DATA), P(DATA), P(), P(), P())  # type: ignore[arg-type]


def _cut_dense(mixture, readout: Readout, x: Array, weight: Array) -> tuple[Stats, Array]:
    """Responsibilities of some components, normalised over all; the entropy is theirs alone."""
    joint = log_joint(mixture, readout, x)
    largest = jax.lax.pmax(jnp.max(joint, axis=1), COMPONENTS)
    total = jax.lax.psum(jnp.sum(jnp.exp(joint - largest[:, None]), axis=1), COMPONENTS)
    evidence = largest + jnp.log(total)
    responsibilities = jnp.exp(joint - evidence[:, None])
    stats = summarize(mixture, responsibilities, x, weight, readout.offset, readout.params)
    return stats, jnp.sum(weight * evidence)


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
