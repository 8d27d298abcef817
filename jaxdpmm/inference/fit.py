"""The only loop in the library: sweeps over the data until the objective no longer moves.

A backend brings `init`, `step` and `posterior`; this file brings tolerance, history, callback, progress and
the reading of a result that went wrong. Next file to read: `initialize.py`.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike
from tqdm import tqdm

from jaxdpmm.inference.base import Algorithm, Layout
from jaxdpmm.inference.data import ArraySource, DataSource
from jaxdpmm.model import Posterior, active_components


class Epoch(NamedTuple):
    """One sweep, for the history and the callback.

    Attributes:
        number: 1 for the first.
        objective: ELBO in nats, of all data.
        num_active: components that hold at least half a point.
        seconds: since the fit began; the first sweep includes compilation.
    """

    number: int
    objective: float
    num_active: int
    seconds: float


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


def fit(
    algorithm: Algorithm,
    data: ArrayLike | DataSource,
    posterior: Posterior,
    *,
    key: PRNGKeyArray | None = None,
    num_epochs: int = 100,
    tolerance: float = 1e-3,
    sample_weight: ArrayLike | None = None,
    batch_size: int | None = None,
    callback: Callable[[Epoch, Posterior], bool | None] | None = None,
    progress: bool = False,
) -> FitResult:
    """Fit a mixture with any backend.

    Args:
        algorithm: the backend, for example `cavi(mixture, prior)`.
        data: points, (N, ...) as the user has them (NumPy, memory map, JAX), or a `DataSource`.
        posterior: where to start, from `initialize` or from another backend.
        key: random key, for backends that draw; the same key gives the same fit.
        num_epochs: most sweeps over the data.
        tolerance: stop when a sweep changes the objective by less than this, in nats a point.
        sample_weight: (N,), weight 2 counts as the point twice. Only with an array.
        batch_size: points on the device at a time; by default all, or 65,536 of more than 2 GiB. Only with an array.
        callback: called with each `Epoch` and posterior; returning True stops the fit.
        progress: show a bar with the objective a point and the number of active components.

    Returns:
        Posterior, history, whether it converged, and the state.

    Raises:
        ValueError: data of the wrong shape, not finite, or a `num_epochs` below 1.
        FloatingPointError: the objective became nan.
    """
    if num_epochs < 1:
        raise ValueError(f"num_epochs must be at least 1, got {num_epochs}; the default is 100.")
    source = _as_source(algorithm, data, sample_weight, batch_size)
    step = jax.jit(algorithm.step, donate_argnums=1)
    key = jax.random.key(0) if key is None else key
    layout = Layout(source.num_batches, source.batch_size, source.total_weight)
    # Each step consumes its state (donated buffers); the caller keeps what is the caller's.
    state = _copy(algorithm.init(posterior, layout))
    history, converged = [], False
    start = time.perf_counter()
    with tqdm(total=num_epochs, desc="fit", unit="sweep", disable=not progress) as bar:
        for number in range(1, num_epochs + 1):
            for batch in source.sweep():
                key, key_step = jax.random.split(key)
                state, info = step(key_step, state, batch)
            epoch = _read_epoch(algorithm, state, info, number, start)
            history.append(epoch)
            _show(bar, epoch, source.total_weight)
            converged = _has_converged(history, tolerance * source.total_weight)
            wants_stop = callback and callback(epoch, _copy(algorithm.posterior(state)))
            if converged or wants_stop:
                break
    return FitResult(algorithm.posterior(state), tuple(history), converged, state)


def _as_source(algorithm, data, sample_weight, batch_size) -> DataSource:
    if not hasattr(data, "sweep"):
        return ArraySource(data, algorithm.mixture.family, sample_weight, batch_size)
    if sample_weight is not None or batch_size is not None:
        raise ValueError(
            "sample_weight and batch_size go with an array, got a data source that has its own; "
            "give them to the source."
        )
    return data


def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _read_epoch(algorithm, state, info, number, start) -> Epoch:
    objective = float(info.objective)
    num_active = int(np.sum(active_components(algorithm.posterior(state))))
    if not np.isfinite(objective):
        raise FloatingPointError(
            f"objective became {objective} at sweep {number} with {num_active} active components; "
            "scale the features to a spread near one or enable x64 (jax_enable_x64)."
        )
    return Epoch(number, objective, num_active, time.perf_counter() - start)


def _has_converged(history: list[Epoch], tolerance: float) -> bool:
    return len(history) > 1 and abs(history[-1].objective - history[-2].objective) < tolerance


def _show(bar: tqdm, epoch: Epoch, total_weight: float) -> None:
    per_point = epoch.objective / total_weight
    bar.set_postfix_str(f"ELBO {per_point:.4f} nats a point, {epoch.num_active} active")
    bar.update()
