"""The only loop in the library: sweeps over the data until the objective no longer moves.

A backend brings its functions and says what it is; this file brings tolerance, history, callback, progress, checkpoints
and the reading of a result that went wrong. Next file to read: `initialize.py`.
"""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike
from tqdm import tqdm

from jaxdpmm.checks import check_at_least_one, check_key, check_kind
from jaxdpmm.inference.base import Algorithm, Layout, Objective
from jaxdpmm.inference.checkpoint import Checkpoint, Progress
from jaxdpmm.inference.data.arrays import DataSource, digest
from jaxdpmm.inference.data.pieces import as_source
from jaxdpmm.inference.history import Epoch, has_converged
from jaxdpmm.inference.truncation import truncation_binds
from jaxdpmm.model import Posterior, Prior, active_components

TOLERANCE = 1e-3  # nats per point


class FitResult(NamedTuple):
    """What a fit returns.

    Attributes:
        posterior: the fitted posterior, on the device.
        history: one `Epoch` per sweep.
        converged: whether the tolerance was reached; never of a sampler.
        state: the algorithm's own state, to go on from.
    """

    posterior: Posterior
    history: tuple[Epoch, ...]
    converged: bool
    state: Any

    @property
    def truncation_binds(self) -> bool:
        """Whether every component holds data, so that the truncation decides how many there are."""
        return truncation_binds(self.posterior)


def fit(
    algorithm: Algorithm,
    data: Any,
    posterior: Posterior,
    *,
    key: PRNGKeyArray | None = None,
    num_epochs: int = 100,
    tolerance: float | None = None,
    patience: int = 1,
    sample_weight: ArrayLike | None = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    callback: Callable[[Epoch, Posterior], bool | None] | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 1,
) -> FitResult:
    """Fit a mixture with any backend.

    Args:
        algorithm: the backend, for example `cavi(mixture, prior)`.
        data: points, (N, ...) as the user has them (NumPy, JAX, memory map, feature store, HDF5), pieces of them
            (a list of arrays, or a function that returns an iterator of arrays), or a `DataSource`.
        posterior: where to start, from `initialize` or from another backend.
        key: random key, which a sampler needs; the same key gives the same fit.
        num_epochs: most sweeps over the data; a sampler makes all of them.
        tolerance: stop when a sweep changes the objective by less than this, in nats per point; by default 0.001. A
            sampler takes none.
        patience: number of consecutive sweeps below `tolerance`.
        sample_weight: (N,), weight 2 counts as the point twice. Only with an array.
        batch_size: most points on the device at a time; by default all, or 65,536 of more than 2 GiB or on disk.
        shuffle: visit the batches of an array in a new random order in every sweep, for `stochastic` and `online_em`.
        callback: called with each `Epoch` and posterior; returning True stops the fit.
        progress: show a bar with the objective per point and the number of active components.
        checkpoint: folder in which to keep where the fit stands. The same call goes on from there after a crash, to
            the same posterior; start and key are then those of the first time. A larger `num_epochs` goes on too.
        checkpoint_every: sweeps from one checkpoint to the next; one is made at the end in any case.

    Returns:
        Posterior, history, whether it converged, and the state.

    Raises:
        ValueError: data of the wrong shape, not finite, a `num_epochs`, `patience` or `checkpoint_every` below 1, no
            key or a tolerance for a sampler, a posterior with another number of components than the mixture, or a
            checkpoint that is damaged, of another fit, or of data that cannot be told from others.
        TypeError: an algorithm, posterior or key that is none, such as a backend in place of `cavi(mixture, prior)`, or
            a number in place of a key.
        OSError: the checkpoint cannot be written; the last one stays.
        FloatingPointError: the objective became nan.
    """
    _check_counts(num_epochs, checkpoint_every, patience)
    _check_start(algorithm, posterior)
    source = as_source(data, algorithm.mixture.family, sample_weight, batch_size)
    key = _key(algorithm, key)
    threshold = _tolerance(algorithm, tolerance) * source.total_weight
    # Each step consumes its state (donated buffers); the caller keeps what is the caller's.
    step = jax.jit(algorithm.step, donate_argnums=1)
    saved = checkpoint and Checkpoint(checkpoint, _identity(algorithm, source, key, shuffle))
    now = Progress(_copy(_init(algorithm, posterior, source)), key, ())
    now = saved.load(now) if saved else now
    start = time.perf_counter() - (now.history[-1].seconds if now.history else 0)
    wants_stop = has_converged(now.history, threshold, patience)
    with tqdm(total=num_epochs, initial=len(now.history), desc="fit", disable=not progress) as bar:
        while len(now.history) < num_epochs and not wants_stop:
            now = _sweep(algorithm, step, source, now, shuffle, start)
            epoch = now.history[-1]
            _show(bar, algorithm, epoch, source.total_weight)
            wants_stop = has_converged(now.history, threshold, patience) or bool(
                callback and callback(epoch, _copy(algorithm.posterior(now.state)))
            )
            is_end = wants_stop or epoch.number == num_epochs
            if saved and (is_end or epoch.number % checkpoint_every == 0):
                saved.save(now)
    converged = has_converged(now.history, threshold, patience)
    return FitResult(algorithm.posterior(now.state), now.history, converged, now.state)


def _sweep(
    algorithm: Algorithm,
    step: Callable,
    source: DataSource,
    now: Progress,
    shuffle: bool,
    start: float,
) -> Progress:
    """Where the fit stands after one more sweep."""
    key, state, info = now.key, now.state, None
    order: tuple = ()
    if shuffle:
        key, key_order = jax.random.split(key)
        order = (key_order,)
    for batch in source.sweep(*order):
        key, key_step = jax.random.split(key)
        previous = info
        state, info = step(key_step, state, batch)
        # One step runs, one waits: with more, the batches of all of them would be in memory.
        jax.block_until_ready(previous)
    epoch = _read_epoch(algorithm, state, info, len(now.history) + 1, start)
    return Progress(state, key, (*now.history, epoch))


def _identity(
    algorithm: Algorithm, source: DataSource, key: PRNGKeyArray, shuffle: bool
) -> dict[str, Any]:
    """What must be the same for a fit to go on: that which a checkpoint is compared with."""
    fingerprint = getattr(source, "fingerprint", None)
    if fingerprint is None:
        raise ValueError(
            f"data must have a fingerprint to be told from other data, got {type(source).__name__} without one; give "
            "it the attribute fingerprint, a text that changes with the points, or leave checkpoint out."
        )
    prior = [np.asarray(leaf) for leaf in jax.tree.leaves(algorithm.prior)]
    return {
        **algorithm.identity.describe(),
        "prior": digest(*prior),
        "data": fingerprint,
        "batch_size": source.batch_size,
        "num_batches": source.num_batches,
        "total_weight": source.total_weight,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "shuffle": shuffle,
    }


def _check_counts(num_epochs: int, checkpoint_every: int, patience: int) -> None:
    check_at_least_one("num_epochs", num_epochs, "the default is 100")
    check_at_least_one("checkpoint_every", checkpoint_every, "the default is 1")
    check_at_least_one("patience", patience, "the default is 1")


def _check_start(algorithm: Any, posterior: Any) -> None:
    """That the arguments are what their places are for, and the start has the truncation of the mixture."""
    check_kind(
        "algorithm", algorithm, Algorithm, "make one with a backend, such as cavi(mixture, prior)"
    )
    order = f"pass mixture and prior to {algorithm.identity.name} in this order"
    check_kind("prior", algorithm.prior, Prior, order)
    advice = (
        "make one with initialize(mixture, prior, x, key=jax.random.key(0)), and pass algorithm, data and posterior in "
        "this order"
    )
    check_kind("posterior", posterior, Posterior, advice)
    num_components, num_found = algorithm.mixture.num_components, len(posterior.counts)
    if num_found != num_components:
        raise ValueError(
            f"posterior must have the {num_components} components of the algorithm's mixture, got {num_found}; "
            "initialize it for that mixture, or make the algorithm for the mixture that the posterior is of."
        )


def _key(algorithm: Algorithm, key: Any) -> PRNGKeyArray:
    """The key of the fit. A sampler's must be given, since two chains of one key are the same chain."""
    if key is None and algorithm.identity.objective is Objective.DRAW:
        raise ValueError(
            f"key must be a random key, since {algorithm.identity.name} draws from the posterior, got None; pass "
            "key=jax.random.key(0), and another number for another chain."
        )
    if key is None:
        return jax.random.key(0)
    check_key(key)
    return key


def _tolerance(algorithm: Algorithm, tolerance: float | None) -> float:
    """The change of the objective that ends a fit, in nats per point; 0 for samplers, which nothing ends early."""
    if algorithm.identity.objective is not Objective.DRAW:
        return TOLERANCE if tolerance is None else tolerance
    if tolerance:
        raise ValueError(
            f"tolerance must be left out, since {algorithm.identity.name} draws from the posterior and its log "
            f"likelihood does not converge, got {tolerance}; num_epochs says how many sweeps it makes."
        )
    return 0.0


def _init(algorithm: Algorithm, posterior: Posterior, source: DataSource) -> Any:
    """The state to start from; where arrays span processes, only compiled code may mix them with others."""
    layout = Layout(source.num_batches, source.batch_size, source.total_weight)
    if all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(posterior)):
        return algorithm.init(posterior, layout)
    prior = jax.tree.map(np.asarray, algorithm.prior)
    return jax.jit(algorithm.start, static_argnums=2)(prior, posterior, layout)


def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _read_epoch(algorithm: Algorithm, state: Any, info: Any, number: int, start: float) -> Epoch:
    diagnostics = {name: np.asarray(value).tolist() for name, value in info._asdict().items()}
    objective = diagnostics.pop("objective")
    num_active = int(jnp.sum(active_components(algorithm.posterior(state))))
    if not np.isfinite(objective):
        raise FloatingPointError(
            f"the {algorithm.identity.objective.value} became {objective} at sweep {number} with {num_active} active "
            "components; scale the features to a spread near one or enable x64 (jax_enable_x64)."
        )
    return Epoch(number, objective, num_active, time.perf_counter() - start, diagnostics)


def _show(bar: tqdm, algorithm: Algorithm, epoch: Epoch, total_weight: float) -> None:
    label, per_point = algorithm.identity.objective.value, epoch.objective / total_weight
    bar.set_postfix_str(f"{label} {per_point:.4f} nats per point, {epoch.num_active} active")
    bar.update()
