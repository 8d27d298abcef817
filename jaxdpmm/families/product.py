"""Products of families: one component that says something of several blocks of features at once.

Given the component, the blocks are independent: p(x | theta) is the product of the blocks' densities, so log
partitions and log densities add up, and each block keeps the fast functions of its own family. "What and where" is a
block of patch features beside one of two coordinates; mixed data are a block of numbers beside one of zeros and ones.
A point is one vector, the blocks side by side. Next file to read: `../sticks/base.py`.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from jaxdpmm.families.base import Family


@dataclass(frozen=True)
class Block:
    """Some neighbouring features and their family.

    Attributes:
        name: key of the block in all trees.
        family: of the block.
        shape: of the block's part of one point; by default what the family says. () is a single number.

    Raises:
        ValueError: the family does not say its shape and none is given.
    """

    name: str
    family: Family
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shape is None and self.family.point_shape is None:
            raise ValueError(
                f"shape must be given for block {self.name!r}, since {type(self.family).__name__} takes points of any "
                "shape; () is a single number."
            )

    @property
    def point_shape(self) -> tuple[int, ...]:
        """Shape of the block's part of one point."""
        shape = self.family.point_shape if self.shape is None else self.shape
        return () if shape is None else tuple(shape)


class ProductPoint(NamedTuple):
    """Point estimates of all blocks by name, and their means side by side."""

    blocks: dict[str, Any]
    mean: Float[Array, "*K D"]


@dataclass(frozen=True)
class ProductFamily(Family):
    """Independent blocks given the component; natural parameters are a dict by name.

        ProductFamily((Block("what", GaussianDiagonal(384)), Block("where", GaussianFull(2))))

    Attributes:
        blocks: in the order of the features.

    Raises:
        ValueError: no blocks, or two of one name.
    """

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        names = [getattr(block, "name", None) for block in self.blocks]
        if not names or None in names or len(set(names)) < len(names):
            raise ValueError(
                f"blocks must be a tuple of Block with names of their own, got {self.blocks}; for example "
                '(Block("what", GaussianDiagonal(384)), Block("where", GaussianFull(2))).'
            )

    @property
    def point_shape(self) -> tuple[int, ...]:
        """(D,), the sizes of the blocks together."""
        return (sum(math.prod(block.point_shape) for block in self.blocks),)

    def split(self, x: Num[Array, "... D"]) -> dict[str, Num[Array, "..."]]:
        """The blocks of one point or of many, each in its own shape."""
        parts, start = {}, 0
        for block in self.blocks:
            stop = start + math.prod(block.point_shape)
            parts[block.name] = x[..., start:stop].reshape(x.shape[:-1] + block.point_shape)
            start = stop
        return parts

    def join(self, parts: dict[str, Num[Array, "..."]], num_axes: int = 0) -> Num[Array, "... D"]:
        """The inverse of `split`; `num_axes` axes lead, 0 for one point."""
        return jnp.concatenate(
            [
                parts[block.name].reshape(*parts[block.name].shape[:num_axes], -1)
                for block in self.blocks
            ],
            axis=-1,
        )

    def sufficient_statistics(self, x: Num[Array, " D"]) -> dict[str, Any]:
        """T of every block."""
        return self._each("sufficient_statistics", self.split(x))

    def log_partition(self, natural: dict[str, Any]) -> Float[Array, ""]:
        """The sum of the blocks'."""
        return self._total("log_partition", natural)

    def log_base_measure(self, x: Num[Array, " D"]) -> Float[Array, ""]:
        """The sum of the blocks'."""
        return self._total("log_base_measure", self.split(x))

    def reference_point(self, x: Num[Array, "N D"]) -> Array | None:
        """The blocks' side by side, zero for those without; None where none has one."""
        parts = self.split(x)
        points = self._each("reference_point", parts)
        if all(point is None for point in points.values()):
            return None
        return self.join(
            {
                name: jnp.zeros_like(parts[name][0]) if point is None else point
                for name, point in points.items()
            }
        )

    def is_proper(self, natural: dict[str, Any]) -> bool:
        """Every block's are."""
        return all(self._each("is_proper", natural).values())

    def default_prior(self, x: Num[Array, "N D"], num_components: int) -> dict[str, Any]:
        """The blocks' own.

        Raises:
            TypeError: a block has none.
        """
        parts = self.split(x)
        return {b.name: b.family.default_prior(parts[b.name], num_components) for b in self.blocks}

    def offers(self, function: str) -> bool:
        """Whether every block offers the function."""
        return all(block.family.offers(function) for block in self.blocks)

    def sample_params(self, key: PRNGKeyArray, natural: dict[str, Any]) -> dict[str, Any]:
        """A draw of every block."""
        keys = dict(zip(natural, jax.random.split(key, len(natural)), strict=True))
        return self._each("sample_params", keys, natural)

    def point_params(self, natural: dict[str, Any]) -> dict[str, Any] | ProductPoint:
        """Point estimates of every block; with `mean` where every block has one."""
        found = self._each("point_params", natural)
        if not all(hasattr(part, "mean") for part in found.values()):
            return found
        return ProductPoint(found, self.join({name: part.mean for name, part in found.items()}))

    def expected_natural(self, natural: dict[str, Any]) -> dict[str, Any]:
        """Of every block."""
        return self._each("expected_natural", natural)

    def expected_params(self, natural: dict[str, Any]) -> dict[str, Any]:
        """Of every block."""
        return self._each("expected_params", natural)

    def predictive_params(self, natural: dict[str, Any]) -> dict[str, Any]:
        """Of every block."""
        return self._each("predictive_params", natural)

    def kl_divergence(self, natural: dict[str, Any], prior: dict[str, Any]) -> Float[Array, ""]:
        """The sum of the blocks'."""
        return self._total("kl_divergence", natural, prior)

    def log_likelihood(
        self, params: dict[str, Any] | ProductPoint, x: Num[Array, " D"]
    ) -> Float[Array, ""]:
        """The sum of the blocks'."""
        return self._total("log_likelihood", _blocks(params), self.split(x))

    def log_predictive(self, params: dict[str, Any], x: Num[Array, " D"]) -> Float[Array, ""]:
        """The sum of the blocks': given the data of a component, its blocks stay independent."""
        return self._total("log_predictive", params, self.split(x))

    def log_likelihood_matrix(
        self, params: dict[str, Any] | ProductPoint, x: Num[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """The sum of the blocks'."""
        return self._total("log_likelihood_matrix", _blocks(params), self.split(x))

    def proposal_matrix(
        self, params: dict[str, Any] | ProductPoint, x: Num[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """The sum of the blocks'."""
        return self._total("proposal_matrix", _blocks(params), self.split(x))

    def log_predictive_matrix(
        self, params: dict[str, Any], x: Num[Array, "N D"]
    ) -> Float[Array, "N K"]:
        """The sum of the blocks'."""
        return self._total("log_predictive_matrix", params, self.split(x))

    def weighted_statistics(
        self, x: Num[Array, "N D"], responsibilities: Float[Array, "N K"]
    ) -> dict[str, Any]:
        """Of every block."""
        parts = self.split(x)
        return {
            b.name: b.family.weighted_statistics(parts[b.name], responsibilities)
            for b in self.blocks
        }

    @property
    def has_local_variables(self) -> bool:
        """Whether a block has."""
        return any(b.family.has_local_variables for b in self.blocks)

    def local_statistics(
        self,
        params: dict[str, Any] | ProductPoint | None,
        x: Num[Array, "N D"],
        responsibilities: Float[Array, "N K"],
    ) -> tuple[dict[str, Any], Float[Array, ""]]:
        """Of every block; entropies are added."""
        parts = self.split(x)
        of = dict.fromkeys(parts) if params is None else _blocks(params)
        found = {
            b.name: b.family.local_statistics(of[b.name], parts[b.name], responsibilities)
            for b in self.blocks
        }
        first, *others = (entropy for _, entropy in found.values())
        return {name: statistics for name, (statistics, _) in found.items()}, sum(others, first)

    def _each(self, function: str, *arguments: dict[str, Any]) -> dict[str, Any]:
        """One function of every block's family, on the block's part of each argument."""
        return {
            b.name: getattr(b.family, function)(*(argument[b.name] for argument in arguments))
            for b in self.blocks
        }

    def _total(self, function: str, *arguments: dict[str, Any]) -> Array:
        first, *others = self._each(function, *arguments).values()
        return sum(others, first)


def _blocks(params: dict[str, Any] | ProductPoint) -> dict[str, Any]:
    return params.blocks if isinstance(params, ProductPoint) else params
