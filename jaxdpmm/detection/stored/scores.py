"""What scores of several images have learned as arrays of a model file and back, each looked at first.

These are fusion, context, known anomalies and unlabelled images. Next file to read: `state.py`, which puts them among
the other parts of a state.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxdpmm.detection.scores.context import Context, LearnedContext, Ring
from jaxdpmm.detection.scores.histograms import Histograms
from jaxdpmm.detection.state import DetectorState, Known, Unlabelled
from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.scoring import Fusion
from jaxdpmm.scoring.fusion import HEAVIEST, Survival
from jaxdpmm.storage.model_trees import problem_of, template_of
from jaxdpmm.storage.tree_store import named_leaves

FUSION, CONTEXT, KNOWN, UNLABELLED = "fusion", "context", "known", "unlabelled"
HISTOGRAMS = "histograms"
CONTEXT_ARRAYS = ("counts", "columns", "ends", "centres", "ring", "prior")
MOST_RINGS = 2**10  # patches to either side
LARGEST = 2**53


def arrays_of(state: DetectorState) -> dict[str, np.ndarray]:
    """The arrays by name; none where there are no such parts."""
    trees: dict[str, Any] = {FUSION: state.fusion, HISTOGRAMS: state.histograms}
    trees |= {KNOWN: state.known, UNLABELLED: state.unlabelled}
    context = state.context
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(trees).items()}
    if context is not None:
        pairs = context.counts.pairs.tocsr()
        values = (
            pairs.data.astype(np.int64),
            pairs.indices.astype(np.int64),
            pairs.indptr.astype(np.int64),
            context.counts.centres.astype(np.int64),
            np.array(context.ring, np.int64),
            np.array([context.concentration, context.exponent]),
        )
        arrays |= {f"{CONTEXT}/{n}": one for n, one in zip(CONTEXT_ARRAYS, values, strict=True)}
    return arrays


def fusion_of(arrays: Mapping[str, np.ndarray], num_scores: int) -> Fusion | None:
    """The fusion among the arrays of a model file; None where it has none.

    Args:
        arrays: by name.
        num_scores: J.

    Raises:
        ValueError: the arrays are no fusion of so many scores; the message is a part of a sentence.
    """
    if not any(name.startswith(f"{FUSION}/") for name in arrays):
        return None
    parts = []
    for part, shape in zip(Fusion._fields, ((num_scores,), ()), strict=True):
        names = [f"{FUSION}/{part}/{field}" for field in Survival._fields]
        leaves: list[Any] = [arrays.get(name, np.zeros(0)) for name in names]
        found = Survival(*leaves)
        if not _is_survival(found, shape):
            raise ValueError(f"a fusion that is none of {num_scores} scores")
        parts.append(jax.tree.map(jnp.asarray, found))
    return Fusion(*parts)


def context_of(arrays: Mapping[str, np.ndarray], num_components: int) -> LearnedContext | None:
    """The context among the arrays of a model file; None where it has none.

    Args:
        arrays: by name.
        num_components: K.

    Raises:
        ValueError: the arrays are no context of so many components; the message is a part of a sentence.
    """
    names = [f"{CONTEXT}/{name}" for name in CONTEXT_ARRAYS]
    if not set(names) & set(arrays):
        return None
    found = [arrays.get(name, np.zeros(0)) for name in names]
    if not _is_context(found, num_components):
        raise ValueError(f"a context that is none of {num_components} components")
    counts, columns, ends, centres, ring, prior = found
    shape = num_components, num_components
    pairs = scipy.sparse.csr_array((counts, columns, ends), shape=shape)
    inner, outer = ring.tolist()
    return LearnedContext(Context(pairs, centres), Ring(inner, outer), *prior.tolist())


def known_of(arrays: Mapping[str, np.ndarray], mixture: Mixture, prior: Prior) -> Known | None:
    """What is known of anomalies among the arrays of a model file; None where it has nothing.

    Args:
        arrays: by name.
        mixture: of the file; that of the anomalies has another number of components.
        prior: of both.

    Raises:
        ValueError: the arrays are no mixture; the message is a part of a sentence.
    """
    found = _below(arrays, KNOWN)
    if not found:
        return None
    number, log_unknown = (found.pop(name, np.zeros(0)) for name in Known._fields[1:])
    is_fact = number.shape == log_unknown.shape == () and number.dtype.kind == "i" and number > 0
    if not is_fact or not np.isfinite(log_unknown):
        raise ValueError("known anomalies that are none")
    posterior = _posterior_of(found, mixture, prior, "known anomalies")
    return Known(posterior, int(number), float(log_unknown))


def unlabelled_of(
    arrays: Mapping[str, np.ndarray], mixture: Mixture, prior: Prior
) -> Unlabelled | None:
    """What unlabelled images hold among the arrays of a model file; None where it has nothing.

    Args:
        arrays: by name.
        mixture: of the file; that of normal and unlabelled patches has another number of components.
        prior: of both.

    Raises:
        ValueError: the arrays are no mixture; the message is a part of a sentence.
    """
    found = _below(arrays, UNLABELLED)
    if not found:
        return None
    if "share" in found:
        raise ValueError("unlabelled images by the ratio of two densities, which is no longer used")
    among_unlabelled, among_normal, *numbers = (
        found.pop(name, np.zeros(0)) for name in Unlabelled._fields[1:]
    )
    posterior = _posterior_of(found, mixture, prior, "unlabelled images")
    pairs = zip((among_unlabelled, among_normal), numbers, strict=True)
    if not all(_is_occurrence(*pair, len(posterior.counts)) for pair in pairs):
        raise ValueError("unlabelled images that are none")
    return Unlabelled(posterior, among_unlabelled, among_normal, *map(int, numbers))


def histograms_of(arrays: Mapping[str, np.ndarray], num_components: int) -> Histograms | None:
    """What training images are made of, among the arrays of a model file; None where it does not say.

    Args:
        arrays: by name.
        num_components: K.

    Raises:
        ValueError: the arrays are no histograms of so many components; the message is a part of a sentence.
    """
    found = _below(arrays, HISTOGRAMS)
    if not found:
        return None
    shares, prior = (found.get(name, np.zeros(0)) for name in Histograms._fields)
    of_components = shares.ndim == 2 and len(shares) > 0 and prior.shape == (num_components,)
    if not of_components or shares.shape[1] != num_components:
        raise ValueError(f"histograms that are none of {num_components} components")
    if not all(one.dtype.kind == "f" and bool((one > 0).all()) for one in (shares, prior)):
        raise ValueError("histograms with shares that are not positive")
    if not np.isfinite(prior).all() or not np.allclose(shares.sum(axis=1), 1):
        raise ValueError("histograms with shares that do not sum to one")
    return Histograms(shares, prior)


def _below(arrays: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    start = f"{part}/"
    return {name[len(start) :]: one for name, one in arrays.items() if name.startswith(start)}


def _posterior_of(
    found: Mapping[str, np.ndarray], mixture: Mixture, prior: Prior, part: str
) -> Posterior:
    """The posterior of a second mixture under the same prior, from its arrays."""
    counts = found.get("posterior/counts", np.zeros(0))
    if counts.ndim != 1 or not counts.size:
        raise ValueError(f"{part} that are none")
    second = Mixture(mixture.family, len(counts), mixture.sticks)
    priors = {name: np.asarray(leaf) for name, leaf in named_leaves({"prior": prior}).items()}
    if problem := problem_of(second, {**priors, **found}):
        raise ValueError(f"{part} with {problem}")
    template = {"posterior": template_of(second, prior.offset is not None)["posterior"]}
    leaves = [jnp.asarray(found[name]) for name in named_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)["posterior"]


def _is_survival(found: Survival, shape: tuple[int, ...]) -> bool:
    """Finite, knots that ascend, logs that ascend from 0 on, a scale and a shape that tails have."""
    knots, logs, scale, tail = found
    if knots.shape != logs.shape or knots.shape[:-1] != shape or not knots.ndim or not knots.size:
        return False
    if scale.shape != shape or tail.shape != shape:
        return False
    if not all(one.dtype.kind == "f" and bool(np.isfinite(one).all()) for one in found):
        return False
    ascend = all(bool((np.diff(one, axis=-1) >= 0).all()) for one in (knots, logs))
    in_range = bool((scale > 0).all()) and bool(((tail >= 0) & (tail <= HEAVIEST)).all())
    return ascend and in_range and bool((logs >= 0).all())


def _is_occurrence(among: np.ndarray, number: np.ndarray, num_components: int) -> bool:
    """Whether these are in how many of so many images each component occurs."""
    if among.shape != (num_components,) or number.shape != ():
        return False
    if among.dtype.kind != "i" or number.dtype.kind != "i":
        return False
    return bool(0 < number < LARGEST and (among >= 0).all() and (among <= number).all())


def _is_context(found: list[np.ndarray], num_components: int) -> bool:
    """Whole numbers that make a sparse matrix of counts, and a prior within its range."""
    *whole, prior = found
    if any(one.dtype.kind != "i" or one.ndim != 1 for one in whole):
        return False
    counts, columns, ends, centres, ring = whole
    if ends.shape != (num_components + 1,) or centres.shape != (num_components,):
        return False
    if ends[0] != 0 or ends[-1] != len(counts) or len(counts) != len(columns):
        return False
    within = bool((np.diff(ends) >= 0).all()) and bool(
        ((columns >= 0) & (columns < num_components)).all()
    )
    are_counts = all(bool(((one >= 0) & (one < LARGEST)).all()) for one in (counts, centres))
    return within and are_counts and bool(centres.any()) and _is_taken(ring, prior)


def _is_taken(ring: np.ndarray, prior: Any) -> bool:
    """Whether a ring and a prior are ones that a context can be taken by."""
    if ring.shape != (2,) or not 1 <= ring[0] <= ring[1] <= MOST_RINGS:
        return False
    if prior.shape != (2,) or prior.dtype.kind != "f" or not np.isfinite(prior).all():
        return False
    concentration, exponent = prior
    return bool(concentration > 0 and 0 < exponent <= 1)
