"""Which arrays a mixture has: the structure of its prior and posterior, their shapes, and what values they can take.

A model file names its arrays; what they must be follows from the family and the sticks alone. The same is asked when
a model is saved, so that whatever is saved loads. Next file to read: `persist.py`.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.sticks import Gamma
from jaxdpmm.storage.descriptions import shown
from jaxdpmm.storage.tree_store import named_leaves


@lru_cache(maxsize=32)
def template_of(mixture: Mixture, has_offset: bool) -> dict[str, Any]:
    """Prior and posterior with shapes in place of arrays.

    Of a family that does not tell the shape of its points, trailing axes may be wrong.

    Args:
        mixture: static description.
        has_offset: whether there is a reference point.
    """
    family, sticks = mixture.family, mixture.sticks
    point: Any = jax.ShapeDtypeStruct(family.point_shape or (), jnp.float32)
    counts: Any = jax.ShapeDtypeStruct((mixture.num_components,), jnp.float32)
    component = jax.eval_shape(family.sufficient_statistics, point)
    components = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((mixture.num_components, *leaf.shape), leaf.dtype),
        component,
    )
    concentration = jax.eval_shape(lambda: sticks.default_prior(jnp.float32))
    fractions = jax.eval_shape(
        lambda counts, prior: sticks.posterior(counts, prior, None), counts, concentration
    )
    offset = point if has_offset else None
    return {
        "prior": Prior(component, concentration, offset),
        "posterior": Posterior(fractions, components, counts, offset),
    }


def problem_of(mixture: Mixture, tensors: Mapping[str, np.ndarray]) -> str | None:
    """What keeps some arrays from being prior and posterior of a mixture, as a part of a sentence; None for nothing.

    Sizes come before anything is traced.

    Args:
        mixture: static description, with any family.
        tensors: the leaves of prior and posterior, by the names of `tree_store.named_leaves`.
    """
    counts = tensors.get("posterior/counts", np.zeros(0))
    if counts.shape != (mixture.num_components,):
        return f"counts of shape {counts.shape} for {mixture.num_components} components"
    size = sum(tensor.size for tensor in tensors.values())
    if math.prod(mixture.family.point_shape or ()) > size:
        return f"{size} numbers in all arrays of {mixture.family}"
    wanted = named_leaves(template_of(mixture, "posterior/offset" in tensors))
    if differing := sorted(set(wanted) ^ set(tensors)):
        names = ", ".join(differing)
        return f"other arrays than those of {mixture.family} ({shown(names)} on one side only)"
    for name, tensor in tensors.items():
        shape = _shape_of(name, wanted[name].shape, mixture, tensors)
        if shape is not None and tensor.shape != shape:
            return f"{name} of shape {tensor.shape} in place of {shape}"
        if tensor.dtype not in (np.float32, np.float64) or not np.isfinite(tensor).all():
            return f"{name} of type {tensor.dtype} with values that are not all finite numbers"
    return _impossible(mixture, tensors)


def _shape_of(
    name: str, shape: tuple, mixture: Mixture, tensors: Mapping[str, np.ndarray]
) -> tuple | None:
    """The shape that an array must have; None where only the family of the user knows it."""
    place, is_component = name.removeprefix("posterior/components"), "component" in name
    if mixture.family.point_shape is not None or not (is_component or name.endswith("/offset")):
        return shape
    if name.startswith("posterior/components"):  # as the prior's, once a component
        return (mixture.num_components, *tensors[f"prior/component{place}"].shape)
    return None


def check_rebuildable(mixture: Mixture, prior: Prior, posterior: Posterior) -> None:
    """That loading will find the same structure; a family of the user's own may not tell its points' shape.

    Raises:
        ValueError: it will not.
    """
    wanted: Any = jax.tree.structure({"prior": prior, "posterior": posterior})
    name = type(mixture.family).__name__
    try:
        found = jax.tree.structure(template_of(mixture, posterior.offset is not None))
    except Exception as error:  # whatever a family raises at a point of the wrong shape
        raise ValueError(
            f"{name} must have the property point_shape to be saved, got none that its sufficient_statistics "
            f"accept ({error}); define it."
        ) from error
    if found != wanted:
        raise ValueError(
            f"posterior must have the structure that {name} gives its trees, {found}, got {wanted}; save what "
            "fit returned, with its own mixture."
        )


def _impossible(mixture: Mixture, tensors: Mapping[str, np.ndarray]) -> str | None:
    """Which values no prior and no posterior has."""
    paths = template_of(mixture, "posterior/offset" in tensors)
    leaves = [tensors[name] for name in named_leaves(paths)]
    trees = jax.tree.unflatten(jax.tree.structure(paths), leaves)
    prior, posterior = trees["prior"], trees["posterior"]
    nodes = jax.tree.leaves((prior, posterior), is_leaf=lambda node: isinstance(node, Gamma))
    gammas = [node for node in nodes if isinstance(node, Gamma)]
    gammas = [gamma for gamma in gammas if gamma is not prior.concentration or _any(gamma)]
    positive = jax.tree.leaves((posterior.sticks.a, posterior.sticks.b, gammas))
    if posterior.counts.min() < -0.5 or any((leaf <= 0).any() for leaf in positive):
        return "negative counts or fractions"
    one = jax.tree.map(lambda leaf: leaf[None], prior.component)
    for name, natural in (("prior", one), ("posterior", posterior.components)):
        is_none = natural is one and not _any(one)  # zeros: the statistics alone, without a prior
        if not is_none and not mixture.family.is_proper(natural):
            return f"components of the {name} that {mixture.family} cannot have"
    return None


def _any(tree: Any) -> bool:
    """Whether some number of a tree is not zero."""
    return any(bool(np.any(leaf)) for leaf in jax.tree.leaves(tree))
