"""Local steps over many devices: points cut over a mesh, statistics summed by `psum`.

Statistics are additive, so the E-step is all that has to know of devices: `sharded` wraps any local step, and every
backend that takes one runs on a mesh. Where K full covariances do not fit one device, `sharded_components` cuts the
components over a second axis as well; a point's normaliser is then the only thing that the shards tell each other.
Meshes and the batches on them: `../data/mesh.py`, the next file to read.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from jaxdpmm.inference.base import Layout, LocalResult, LocalStep, Memory
from jaxdpmm.inference.data.mesh import BATCH_SPEC, COMPONENTS, DATA
from jaxdpmm.inference.local_steps.dense import sum_over_tiles
from jaxdpmm.model import Batch, Mixture, Readout, Stats, log_joint, summarize


def sharded(local_step: LocalStep, mesh: Mesh | AbstractMesh) -> LocalStep:
    """A local step whose points are cut over the mesh's axis "data".

    Args:
        local_step: any whose memory of a batch leads with the points.
        mesh: with an axis "data"; along others the work is repeated.

    Returns:
        A local step that gives the same statistics on every device, those of the whole batch.
    """
    return Sharded(local_step, mesh)


class OnMesh(LocalStep):
    """A step that is bound to the devices of this process, which cannot be pickled."""

    mesh: Mesh | AbstractMesh

    def __getstate__(self) -> dict[str, Any]:
        """The fields.

        Raises:
            TypeError: the mesh is one of devices.
        """
        if isinstance(self.mesh, Mesh):
            raise TypeError(
                f"local_step must be without devices to be pickled, got {self!r} on a mesh of {self.mesh.size}; pickle "
                "mixture and prior, and make mesh and algorithm where they are used."
            )
        return self.__dict__


@dataclass(frozen=True)
class Sharded(OnMesh):
    """The step that `sharded` makes; the same fit may go on over another mesh, hence no mesh in its `repr`."""

    local_step: LocalStep
    mesh: Mesh | AbstractMesh = field(repr=False)

    def init(self, mixture: Mixture, layout: Layout) -> Memory:
        """Memory of the step that is sharded."""
        return self.local_step.init(mixture, layout)

    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics of the whole batch, summed over the devices."""

        def of_shard(readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
            own = self.local_step.step(mixture, readout, batch, memory)
            stats, evidence = jax.lax.psum((own.stats, own.log_evidence), DATA)
            return LocalResult(stats, evidence, own.memory)

        run = jax.shard_map(
            of_shard,
            mesh=self.mesh,
            in_specs=(P(), BATCH_SPEC, P(DATA)),
            out_specs=LocalResult(P(), P(), P(DATA)),  # type: ignore[arg-type]
            check_vma=False,
        )
        return run(readout, batch, memory)


def sharded_components(mesh: Mesh | AbstractMesh) -> LocalStep:
    """The dense local step with points and components cut over the mesh.

    Parameters and statistics of a component stay where it is; only the logarithm of each point's normaliser goes
    round. Start from `component_sharded(posterior, mesh)`.

    Args:
        mesh: with the axes "data" and "components".

    Returns:
        A local step; it raises ValueError if the mesh cannot divide the components.
    """
    return ShardedComponents(mesh)


@dataclass(frozen=True)
class ShardedComponents(OnMesh):
    """The step that `sharded_components` makes."""

    mesh: Mesh | AbstractMesh = field(repr=False)

    def init(self, mixture: Mixture, layout: Layout) -> Memory:
        """No memory, but a check of the mixture.

        Raises:
            ValueError: the mesh cannot divide the components.
        """
        num_shards = self.mesh.shape[COMPONENTS]
        if mixture.num_components % num_shards:
            raise ValueError(
                f"num_components must be a multiple of the {num_shards} component shards, got "
                f"{mixture.num_components}; round it up, unused components empty themselves."
            )
        return super().init(mixture, layout)

    def step(self, mixture: Mixture, readout: Readout, batch: Batch, memory: Memory) -> LocalResult:
        """Statistics of each device's own components, summed over the devices that hold other points."""

        def of_shard(readout: Readout, batch: Batch) -> tuple[Stats, Array]:
            def of_tile(x: Array, weight: Float[Array, " T"]) -> tuple[Stats, Array]:
                return _cut_dense(mixture, readout, x, weight)

            stats, evidence = sum_over_tiles(of_tile, batch.x, batch.weight)
            stats = stats._replace(entropy=jax.lax.psum(stats.entropy, COMPONENTS))
            return jax.lax.psum((stats, evidence), DATA)

        cut = P(COMPONENTS)
        run = jax.shard_map(
            of_shard,
            mesh=self.mesh,
            in_specs=(Readout(cut, cut, P()), BATCH_SPEC),  # type: ignore[arg-type]
            out_specs=(Stats(cut, cut, P(), P()), P()),  # type: ignore[arg-type]
            check_vma=False,
        )
        return LocalResult(*run(readout, batch), memory)


def _cut_dense(mixture: Mixture, readout: Readout, x: Array, weight: Array) -> tuple[Stats, Array]:
    """Responsibilities of some components, normalised over all; the entropy is theirs alone."""
    joint = log_joint(mixture, readout, x)
    largest = jax.lax.pmax(jnp.max(joint, axis=1), COMPONENTS)
    total = jax.lax.psum(jnp.sum(jnp.exp(joint - largest[:, None]), axis=1), COMPONENTS)
    evidence = largest + jnp.log(total)
    responsibilities = jnp.exp(joint - evidence[:, None])
    stats = summarize(mixture, responsibilities, x, weight, readout.offset, readout.params)
    return stats, jnp.sum(weight * evidence)
