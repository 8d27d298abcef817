"""Blocked Gibbs as a NumPyro kernel: chains, warm-up, progress bar and ArviZ come from there.

    kernel = DPMMGibbs(mixture, prior)
    mcmc = MCMC(kernel, num_warmup=200, num_samples=500, num_chains=2, chain_method="sequential")
    mcmc.run(jax.random.key(0), x, extra_fields=("posterior",))
    draws = mcmc.get_extra_fields()["posterior"]        # a Posterior whose leaves lead with S, for `summaries`
    arviz.from_numpyro(mcmc)                            # alpha, weights, num_occupied, log_likelihood

The sampler is `../backends/gibbs.py`; this file only wraps it. NumPyro's own composable `Gibbs` is not used: it updates
sites of a model one block after the other by their potential, where here all labels, weights and parameters have exact
conditionals. Importing this file loads NumPyro. Next file to read: `svi.py`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray
from numpyro.infer.mcmc import MCMCKernel

from jaxdpmm.grouping import label_statistics
from jaxdpmm.inference.backends.gibbs import GibbsState, gibbs
from jaxdpmm.inference.backends.gibbs_moves import Move
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.initialize import in_units, k_means
from jaxdpmm.model import Batch, Mixture, Posterior, Prior, Readout, global_update
from jaxdpmm.points import check_finite, check_points

START_SAMPLE = 10_000  # points that k-means sees; where a chain starts is forgotten in the warm-up


class DPMMGibbsState(NamedTuple):
    """State of a chain; every attribute may be named in `extra_fields`.

    Attributes:
        sample: the sites of a draw: alpha (), weights (K,), num_occupied () and log_likelihood (), the log density of
            the data given the weights and parameters that the sweep drew.
        gibbs: state of the sampler.
        accepted: share of accepted proposals of each move, (M,).
        rng_key: of the next sweep; one, or one per chain.
    """

    sample: dict[str, Array]
    gibbs: GibbsState
    accepted: Float[Array, "*C M"]
    rng_key: Array

    @property
    def posterior(self) -> Posterior:
        """p(weights, parameters | labels, alpha) of this draw; what scores and summaries take."""
        return self.gibbs.posterior

    @property
    def readout(self) -> Readout:
        """The drawn weights and parameters, relative to `prior.offset`."""
        return self.gibbs.sweep.readout

    @property
    def labels(self) -> Int[Array, "*C N"]:
        """The component of each point; only with `keep_labels=True`.

        Raises:
            ValueError: labels are not kept.
        """
        if isinstance(self.gibbs.labels, tuple):
            raise ValueError(
                "labels must be kept to be collected, got keep_labels=False; "
                "build DPMMGibbs(..., keep_labels=True)."
            )
        return self.gibbs.labels[..., 0, :]


class DPMMGibbs(MCMCKernel):
    """Blocked Gibbs for `numpyro.infer.MCMC`; `run` takes the points, (N, ...), as its one argument.

    Labels are not stored with each draw unless `keep_labels` is set and "labels" is among the `extra_fields`. For
    large data pass `jit_model_args=True` to `MCMC`, or the points become a constant of the compiled program.

    Args:
        mixture: static description; its family needs `sample_params`.
        prior: hyper-parameters.
        start: where every chain starts; by default k-means of up to 10,000 points, seeded by the chain's key.
        moves: steps of `gibbs_moves`, after each sweep.
        keep_labels: keep the labels in the state.

    Raises:
        TypeError: when a chain starts: family or sticks cannot be sampled, or the data are no numbers.
        ValueError: when a chain starts: data of the wrong shape or not finite.
    """

    sample_field = "sample"
    model = None  # ArviZ asks for it

    def __init__(
        self,
        mixture: Mixture,
        prior: Prior,
        *,
        start: Posterior | None = None,
        moves: tuple[Move, ...] = (),
        keep_labels: bool = False,
    ):
        self._mixture, self._prior, self._start = mixture, prior, start
        self._num_moves = len(moves)
        self._algorithm = gibbs(mixture, prior, moves=moves, keep_labels=keep_labels)

    def init(
        self,
        rng_key: Array,
        num_warmup: int,
        init_params: Any,
        model_args: tuple,
        model_kwargs: dict,
    ) -> DPMMGibbsState:
        """State of a chain before its first sweep; of several for several keys."""
        del num_warmup
        x = _check_arguments(self._mixture, model_args, model_kwargs)

        def of_chain(key: PRNGKeyArray) -> DPMMGibbsState:
            key, key_start = jax.random.split(key)
            start = self._start if init_params is None else init_params
            if start is None:
                start = _k_means_start(self._mixture, self._prior, key_start, x)
            state = self._algorithm.init(start, Layout(1, x.shape[0]))
            zero = jnp.zeros_like(start.counts[0])
            accepted = jnp.zeros(self._num_moves, zero.dtype)
            return DPMMGibbsState(_sites(state, zero), state, accepted, key)

        return _over_chains(of_chain, rng_key)(rng_key)

    def sample(
        self, state: DPMMGibbsState, model_args: tuple, model_kwargs: dict
    ) -> DPMMGibbsState:
        """One sweep."""
        del model_kwargs
        batch = _one_batch(jnp.asarray(model_args[0]), self._prior)

        def of_chain(state: DPMMGibbsState) -> DPMMGibbsState:
            key, key_step = jax.random.split(state.rng_key)
            new, info = self._algorithm.step(key_step, state.gibbs, batch)
            return DPMMGibbsState(_sites(new, info.objective), new, info.accepted, key)

        return _over_chains(of_chain, state.rng_key)(state)

    def get_diagnostics_str(self, state: DPMMGibbsState) -> str:
        """What the progress bar shows."""
        sample = state.sample
        return f"{int(sample['num_occupied'])} occupied, log likelihood {float(sample['log_likelihood']):.1f}"


def _sites(state: GibbsState, log_likelihood: Float[Array, ""]) -> dict[str, Array]:
    return {
        "alpha": state.sweep.alpha,
        "weights": jnp.exp(state.sweep.readout.log_weights),
        "num_occupied": jnp.sum(state.posterior.counts > 0),
        "log_likelihood": log_likelihood,
    }


def _over_chains(of_chain: Any, rng_key: Array) -> Any:
    """The function itself, or mapped over chains, which `chain_method="vectorized"` leaves to the kernel."""
    is_typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    return of_chain if rng_key.ndim == (0 if is_typed else 1) else jax.vmap(of_chain)


def _one_batch(x: Num[Array, "N ..."], prior: Prior) -> Batch:
    ones = jnp.ones(x.shape[0], jax.tree.leaves(prior.component)[0].dtype)
    return Batch(x, ones, jnp.asarray(0), jnp.asarray(True), jnp.sum(ones))


def _k_means_start(
    mixture: Mixture, prior: Prior, key: PRNGKeyArray, x: Num[Array, "N ..."]
) -> Posterior:
    """As `initialize`, in operations that a chain's key may be mapped over."""
    key_rows, key_seeds = jax.random.split(key)
    size = min(x.shape[0], START_SAMPLE)
    rows = jax.random.choice(key_rows, x.shape[0], (size,), replace=False)
    batch = _one_batch(x[rows], prior)
    flat = batch.x.reshape(size, -1).astype(batch.weight.dtype)
    labels = k_means(key_seeds, in_units(mixture, flat), mixture.num_components).astype(jnp.int32)
    stats = label_statistics(mixture, labels, batch.x, batch.weight, prior.offset)
    return global_update(mixture, prior, stats)


def _check_arguments(mixture: Mixture, model_args: tuple, model_kwargs: dict) -> Array:
    if len(model_args) != 1 or model_kwargs:
        raise TypeError(
            f"run takes the points as its one argument, got {len(model_args)} arguments and the keywords "
            f"{sorted(model_kwargs or {})}; call mcmc.run(key, x)."
        )
    x = check_points(model_args[0], mixture.family)
    if not isinstance(x, jax.core.Tracer):
        check_finite(x)
    return jnp.asarray(x)
