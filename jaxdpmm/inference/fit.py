"""The only loop in the library: sweeps over the data until the objective no longer moves.

A backend brings `init`, `step` and `posterior`; this file brings tolerance, history, callback, progress,
checkpoints and the reading of a result that went wrong. Next file to read: `initialize.py`.
"""

import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike
from tqdm import tqdm

from jaxdpmm.inference.base import Algorithm, Layout
from jaxdpmm.inference.checkpoint import Checkpoint, Progress
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.inference.data.pieces import as_source
from jaxdpmm.inference.truncation import truncation_binds
from jaxdpmm.model import Posterior, active_components


class Epoch(NamedTuple):
    """One sweep, for the history and the callback.

    Attributes:
        number: 1 for the first.
        objective: ELBO in nats, of all data.
        num_active: components that hold at least half a point.
        seconds: since the fit began; the first sweep includes compilation.
        births: components that an accepted move added in this sweep, with `with_moves`.
        merges: components that one joined to others.
        deletions: components that one emptied.
    """

    number: int
    objective: float
    num_active: int
    seconds: float
    births: int = 0
    merges: int = 0
    deletions: int = 0


class FitResult(NamedTuple):
    """What a fit returns.

    Attributes:
        posterior: the fitted posterior, on the device.
        history: one `Epoch` a sweep.
        converged: whether the tolerance was reached before `num_epochs`.
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
    tolerance: float = 1e-3,
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
        key: random key, for backends that draw; the same key gives the same fit.
        num_epochs: most sweeps over the data.
        tolerance: stop when a sweep changes the objective by less than this, in nats a point.
        patience: so many sweeps in a row.
        sample_weight: (N,), weight 2 counts as the point twice. Only with an array.
        batch_size: most points on the device at a time; by default all, or 65,536 of more than 2 GiB or on disk.
        shuffle: visit the batches of an array in a new random order in every sweep, for `stochastic` and `online_em`.
        callback: called with each `Epoch` and posterior; returning True stops the fit.
        progress: show a bar with the objective a point and the number of active components.
        checkpoint: folder in which to keep where the fit stands. The same call goes on from there after a crash, to
            the same posterior; start and key are then those of the first time. A larger `num_epochs` goes on too.
        checkpoint_every: sweeps from one checkpoint to the next; one is made at the end in any case.

    Returns:
        Posterior, history, whether it converged, and the state.

    Raises:
        ValueError: data of the wrong shape, not finite, a `num_epochs`, `patience` or `checkpoint_every` below 1, or
            a checkpoint that is damaged or of another fit.
        OSError: the checkpoint cannot be written; the last one stays.
        FloatingPointError: the objective became nan.
    """
    check_at_least_one("num_epochs", num_epochs, 100)
    check_at_least_one("checkpoint_every", checkpoint_every, 1)
    check_at_least_one("patience", patience, 1)
    source = as_source(data, algorithm.mixture.family, sample_weight, batch_size)
    step = jax.jit(algorithm.step, donate_argnums=1)
    key = jax.random.key(0) if key is None else key
    layout = Layout(source.num_batches, source.batch_size, source.total_weight)
    threshold = tolerance * source.total_weight
    saved = checkpoint and Checkpoint(checkpoint, _identity(algorithm, source, key, shuffle))
    # Each step consumes its state (donated buffers); the caller keeps what is the caller's.
    now = Progress(_copy(_init(algorithm, posterior, layout)), key, ())
    now = saved.load(now) if saved else now
    history = [Epoch(*numbers) for numbers in now.history]
    start = time.perf_counter() - (history[-1].seconds if history else 0)
    wants_stop = _has_converged(history, threshold, patience)
    with tqdm(total=num_epochs, initial=len(history), desc="fit", disable=not progress) as bar:
        while len(history) < num_epochs and not wants_stop:
            key, state, info = _sweep(step, source, now, shuffle)
            history.append(_read_epoch(algorithm, state, info, len(history) + 1, start))
            now = Progress(state, key, tuple(history))
            _show(bar, history[-1], source.total_weight)
            wants_stop = _has_converged(history, threshold, patience) or bool(
                callback and callback(history[-1], _copy(algorithm.posterior(state)))
            )
            is_end = wants_stop or len(history) == num_epochs
            if saved and (is_end or len(history) % checkpoint_every == 0):
                saved.save(now)
    converged = _has_converged(history, threshold, patience)
    return FitResult(algorithm.posterior(now.state), tuple(history), converged, now.state)


def _sweep(step: Callable, source: DataSource, now: Progress, shuffle: bool):
    """One sweep: key, state and diagnostics after it."""
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
    return key, state, info


def _identity(algorithm, source, key, shuffle) -> dict[str, Any]:
    """What must be the same for a fit to go on: that which a checkpoint is compared with."""
    return {
        "algorithm": algorithm.step.__qualname__.split(".")[0],
        "mixture": repr(algorithm.mixture),
        "data": getattr(source, "fingerprint", "unknown"),
        "batch_size": source.batch_size,
        "num_batches": source.num_batches,
        "total_weight": source.total_weight,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "shuffle": shuffle,
    }


def check_at_least_one(name: str, value: int, default: int) -> None:
    """One sentence for a number of sweeps that is none.

    Raises:
        ValueError: `value` is below 1.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}; the default is {default}.")


def _init(algorithm: Algorithm, posterior: Posterior, layout: Layout) -> Any:
    """The state to start from; where arrays span processes, only compiled code may mix them with others."""
    if all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(posterior)):
        return algorithm.init(posterior, layout)
    return jax.jit(algorithm.init, static_argnums=1)(posterior, layout)


def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _read_epoch(algorithm, state, info, number, start) -> Epoch:
    objective = float(info.objective)
    num_active = int(jnp.sum(active_components(algorithm.posterior(state))))
    if not np.isfinite(objective):
        raise FloatingPointError(
            f"objective became {objective} at sweep {number} with {num_active} active components; "
            "scale the features to a spread near one or enable x64 (jax_enable_x64)."
        )
    seconds = time.perf_counter() - start
    return Epoch(number, objective, num_active, seconds, *map(int, getattr(info, "changes", ())))


def _has_converged(history: list[Epoch], tolerance: float, patience: int) -> bool:
    last = [epoch.objective for epoch in history[-patience - 1 :]]
    steps = [abs(after - before) for before, after in pairwise(last)]
    return len(steps) == patience and max(steps) < tolerance


def _show(bar: tqdm, epoch: Epoch, total_weight: float) -> None:
    per_point = epoch.objective / total_weight
    bar.set_postfix_str(f"ELBO {per_point:.4f} nats a point, {epoch.num_active} active")
    bar.update()
