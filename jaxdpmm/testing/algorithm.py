"""Checks for a backend of one's own, or a wrapper of one: each says in one sentence what is at fault.

`check_algorithm` runs what every part of the library relies on, on points that the caller gives. It raises
`AlgorithmError`, so that it can stand in any test. What no check can see is whether the algorithm finds the right
posterior: compare it with `cavi` on data whose clusters are known. Next file to read: `scorer.py`.
"""

import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from jaxdpmm.inference import ArraySource, Layout, initialize
from jaxdpmm.inference.base import Algorithm, Objective, State
from jaxdpmm.inference.checkpoint import Checkpoint, Progress
from jaxdpmm.model import Batch, Mixture, Posterior, Prior
from jaxdpmm.testing.compare import called, close, difference, equal, form

NUM_SWEEPS = 3


class AlgorithmError(AssertionError):
    """An algorithm breaks the contract; the message names what."""


class _Trial(NamedTuple):
    """What is checked, and the compiled step, so that all checks of one shape compile once."""

    algorithm: Algorithm
    step: Callable
    start: Posterior
    x: np.ndarray

    @property
    def name(self) -> str:
        return self.algorithm.identity.name


def check_algorithm(
    make: Callable[[Mixture, Prior], Algorithm],
    mixture: Mixture,
    prior: Prior,
    x: Num[Array | np.ndarray, "N ..."],
    *,
    start: Posterior | None = None,
    tolerance: float = 1e-9,
    weights: bool = True,
) -> None:
    """Hold a backend against the contract of `jaxdpmm.inference.base`.

    Equal algorithms have equal identities and one step function, which compiles once per shape and finds the prior in
    its state; posteriors have the form of their start; the same key gives the same bits; steps vectorise over keys; a
    state survives a checkpoint; a bound never falls; and, for algorithms that make no use of the key, points of weight
    zero change nothing and weight two is the point twice.

    Args:
        make: mixture and prior to an algorithm, for example `cavi`.
        mixture: with few components.
        prior: hyper-parameters.
        x: at least eight points, (N, ...); tens are enough.
        start: where to start; `initialize` by default.
        tolerance: largest relative difference allowed where sums are only reordered.
        weights: whether to check the weights of points; not of algorithms that choose between discrete moves, where
            rounding decides between equal ones.

    Raises:
        AlgorithmError: one sentence that names what is at fault.
    """
    algorithm = make(mixture, prior)
    _check_identity(make, algorithm, mixture, prior)
    if start is None:
        start = initialize(mixture, prior, x, key=jax.random.key(1), num_iterations=1)
    trial = _Trial(algorithm, jax.jit(algorithm.step), start, np.asarray(x))
    _check_form(trial)
    _check_repeatable(trial)
    _check_checkpoint(trial)
    _check_many_batches(trial)
    if algorithm.identity.objective is Objective.BOUND:
        _check_bound(trial)
    if weights and not _draws(trial):
        _check_weights(trial, tolerance)


# ------------------------------------------------------------------ what the algorithm says of itself


def _check_identity(make: Any, algorithm: Algorithm, mixture: Mixture, prior: Prior) -> None:
    name, again = algorithm.identity.name, make(mixture, prior)
    try:
        is_same = hash(again.identity) == hash(algorithm.identity)
    except TypeError as error:
        raise AlgorithmError(
            f"{name}: the identity must be hashable, got {error}; give it tuples in place of lists, and no arrays."
        ) from error
    if not is_same or again.identity != algorithm.identity:
        raise AlgorithmError(
            f"{name}: two equal algorithms must have equal identities, got {algorithm.identity} and {again.identity}; "
            "make local steps and options frozen dataclasses, or make them once (lru_cache)."
        )
    if algorithm.mixture != mixture:
        raise AlgorithmError(
            f"{name}: identity.mixture must be the mixture that it was made for, {mixture}, got {algorithm.mixture}."
        )
    if again.step is not algorithm.step:
        raise AlgorithmError(
            f"{name}: two equal algorithms must share one step function, got two, so that every fit compiles anew; "
            "make the functions once per mixture and options (jaxdpmm.programs.fixed)."
        )
    other = make(mixture, prior._replace(component=jax.tree.map(jnp.copy, prior.component)))
    if other.step is not algorithm.step:
        raise AlgorithmError(
            f"{name}: step must not depend on the prior, got another function for another prior; let start put the "
            "prior into the state."
        )


# ------------------------------------------------------------------ what it returns


def _check_form(trial: _Trial) -> None:
    (batch,) = _batches(trial)
    state = _init(trial)
    found = _call(trial, jax.random.key(0), state, batch)
    if form(found[0]) != form(state):
        raise AlgorithmError(
            f"{trial.name}: step must return a state of the form that init gives it, got "
            f"{difference(state, found[0])}; cast or reshape it, or every sweep compiles anew."
        )
    posterior, info = trial.algorithm.posterior(found[0]), found[1]
    if form(posterior) != form(trial.start):
        raise AlgorithmError(
            f"{trial.name}: posterior must have the form of its start, got {difference(trial.start, posterior)}."
        )
    objective = np.asarray(getattr(info, "objective", np.nan))
    if objective.shape != () or not np.isfinite(objective):
        raise AlgorithmError(
            f"{trial.name}: info.objective must be a finite scalar at the end of a sweep, got {objective}."
        )
    leaves = jax.tree.leaves(posterior)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in leaves):
        raise AlgorithmError(f"{trial.name}: the posterior must be finite after a sweep.")
    total = float(jnp.sum(posterior.counts))
    if not np.isclose(total, len(trial.x), rtol=1e-4):
        raise AlgorithmError(
            f"{trial.name}: counts must sum to the {len(trial.x)} points after a sweep over all of them, got {total}."
        )


def _check_repeatable(trial: _Trial) -> None:
    (batch,) = _batches(trial)
    keys = jax.random.split(jax.random.key(3), 2)
    state = _init(trial)
    alone = [_call(trial, key, state, batch)[0] for key in keys]
    if not equal(alone[0], _call(trial, keys[0], _init(trial), batch)[0]):
        raise AlgorithmError(
            f"{trial.name}: the same key must give the same bits, got two results; use no randomness but the key, and "
            "keep nothing between calls."
        )
    together = jax.jit(jax.vmap(trial.algorithm.step, (0, None, None)))(keys, state, batch)[0]
    for number, one in enumerate(alone):
        of_key = jax.tree.map(lambda leaf, n=number: leaf[n], together)
        if not close(one, of_key, 1e-6):
            raise AlgorithmError(
                f"{trial.name}: jax.vmap over keys must give what each key gives alone, got something else."
            )


def _check_checkpoint(trial: _Trial) -> None:
    (batch,) = _batches(trial)
    key = jax.random.key(0)
    state = _call(trial, key, _init(trial), batch)[0]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(folder, trial.algorithm.identity.describe())
        checkpoint.save(Progress(state, key, ()))
        restored = checkpoint.load(Progress(_init(trial), key, ())).state
    if not equal(_call(trial, key, state, batch)[0], _call(trial, key, restored, batch)[0]):
        raise AlgorithmError(
            f"{trial.name}: a state must go on from a checkpoint to the same bits, got others; keep in the state all "
            "that a step depends on."
        )


def _check_many_batches(trial: _Trial) -> None:
    """The data in three batches, the last of them padded."""
    size = -(-len(trial.x) // 3)
    source = ArraySource(trial.x, trial.algorithm.mixture.family, batch_size=size)
    try:
        state = _init(trial, source)
    except ValueError:
        return  # such as moves that need all points at once, which say so
    for batch in [*source.sweep()] * 2:
        before = form(state)
        state, info = _call(trial, jax.random.key(0), state, batch)
        if form(state) != before:
            raise AlgorithmError(
                f"{trial.name}: the state must keep its form from batch to batch, or every step compiles anew."
            )
    if not np.isfinite(info.objective):
        raise AlgorithmError(
            f"{trial.name}: info.objective must be finite after the last batch of a sweep, got {info.objective}."
        )


def _check_bound(trial: _Trial) -> None:
    (batch,) = _batches(trial)
    state, bounds = _init(trial), []
    for number in range(NUM_SWEEPS):
        state, info = _call(trial, jax.random.key(number), state, batch)
        bounds.append(float(info.objective))
    allowed = 100 * float(np.finfo(info.objective.dtype).eps) * max(map(abs, bounds))
    if (np.diff(bounds) < -allowed).any():
        raise AlgorithmError(
            f"{trial.name}: a bound must not fall from sweep to sweep, got {bounds}; if the objective is an estimate, "
            "say so by Objective.ESTIMATE."
        )


def _draws(trial: _Trial) -> bool:
    """Whether two keys lead to two states."""
    (batch,) = _batches(trial)
    one, other = (_call(trial, jax.random.key(seed), _init(trial), batch)[0] for seed in range(2))
    return not equal(one, other)


def _check_weights(trial: _Trial, tolerance: float) -> None:
    x, family = trial.x, trial.algorithm.mixture.family
    num_twice = len(x) // 3
    far = np.concatenate([x, x[:3]])  # of weight zero
    cases = {
        "points of weight zero must change nothing": (
            ArraySource(far, family, np.r_[np.ones(len(x)), np.zeros(3)]),
            ArraySource(x, family),
        ),
        "a point of weight two must count as the point twice": (
            ArraySource(x, family, np.r_[np.full(num_twice, 2.0), np.ones(len(x) - num_twice)]),
            ArraySource(np.concatenate([x, x[:num_twice]]), family),
        ),
    }
    for sentence, sources in cases.items():
        one, other = (_after_sweeps(trial, source) for source in sources)
        if not close(one, other, tolerance):
            raise AlgorithmError(
                f"{trial.name}: {sentence}, got another posterior; multiply responsibilities by batch.weight."
            )


# ------------------------------------------------------------------ small parts


def _batches(trial: _Trial) -> list[Batch]:
    return list(ArraySource(trial.x, trial.algorithm.mixture.family).sweep())


def _init(trial: _Trial, source: ArraySource | None = None) -> State:
    source = source or ArraySource(trial.x, trial.algorithm.mixture.family)
    layout = Layout(source.num_batches, source.batch_size, source.total_weight)
    return jax.tree.map(jnp.copy, trial.algorithm.init(trial.start, layout))


def _after_sweeps(trial: _Trial, source: ArraySource) -> Posterior:
    state = _init(trial, source)
    for number in range(2):
        for batch in source.sweep():
            state, _ = _call(trial, jax.random.key(number), state, batch)
    return trial.algorithm.posterior(state)


def _call(trial: _Trial, *arguments: Any) -> tuple[State, Any]:
    """The compiled step, or a sentence why it does not run."""
    found = called(AlgorithmError, f"{trial.name}: step", trial.step, *arguments)
    if not isinstance(found, tuple) or len(found) != 2:
        raise AlgorithmError(
            f"{trial.name}: step must return (state, info), got {type(found).__name__}; return both."
        )
    return found
