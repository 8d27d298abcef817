"""Time of one blocked Gibbs sweep, and effective samples a second against NumPyro's own Gibbs.

A sweep draws weights, alpha, all parameters and all labels, and sums the statistics. Two sizes:

* `gibbs-full-1000x512-k50`: the size that the `dpgmm` library publishes, 23.9 s a sweep on a CPU and 0.46 s on a GPU
  (its own figures on its own machines, given in the record, not measured here);
* `gibbs-diag-100000x384-k100`: patch features under diagonal covariances.

`gibbs-ess` draws from the same posterior (diagonal covariances, N = 25, D = 2, K = 4: NumPyro's draws take ever longer
with N) with `DPMMGibbs` and with NumPyro's `DiscreteHMCGibbs(NUTS(model))`. The record's seconds are those of
`ours_draws` and `peer_draws` draws of one chain that as many steps have warmed up; the extras give the means and the
effective samples (ArviZ) of two numbers that know no labels, alpha and the log likelihood, and `effective_ratio`, how
many more we draw a second of the one of which a side draws fewer. No compilation is in any figure.

    python benchmarks/gibbs.py --json gibbs.json
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from harness import Case, main, num_cores, record
from numpyro.infer import MCMC, NUTS, DiscreteHMCGibbs

import jaxdpmm
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.inference.numpyro.kernel import DPMMGibbs

PUBLISHED = {"published_dpgmm_cpu_seconds": 23.9, "published_dpgmm_gpu_seconds": 0.46}


def clusters(num_points: int, dim: int, num_clusters: int) -> np.ndarray:
    """Points of unit spread about centres a few spreads apart, float32."""
    generator = np.random.default_rng(0)
    centres = 3 * generator.standard_normal((num_clusters, dim))
    labels = generator.integers(num_clusters, size=num_points)
    return (centres[labels] + generator.standard_normal((num_points, dim))).astype(np.float32)


def one_sweep(family: jaxdpmm.Family, num_points: int, num_components: int) -> Case:
    """One compiled sweep after another, each from the last."""
    x = clusters(num_points, family.dim, num_components)
    mixture = jaxdpmm.Mixture(family, num_components)
    prior = jaxdpmm.default_prior(mixture, x)
    algorithm = gibbs(mixture, prior)
    (batch,) = ArraySource(x, family).sweep()
    state = algorithm.init(jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0)))
    key = jax.random.key(1)
    step = jax.jit(algorithm.step, donate_argnums=1).lower(key, state, batch).compile()
    temporary = step.memory_analysis().temp_size_in_bytes

    def sweep():
        nonlocal state, key
        key, key_step = jax.random.split(key)
        state, info = step(key_step, state, batch)
        return info

    extras = {
        "num_points": num_points,
        "dim": family.dim,
        "num_components": num_components,
        "threads": num_cores(),
        "ours_temporary_bytes": temporary,
    }
    return Case(sweep, None, extras)


@record("gibbs-full-1000x512-k50")
def full(quick: bool) -> Case:
    """Full covariances: factorising and drawing 50 matrices of 512 x 512 dominates."""
    del quick
    case = one_sweep(jaxdpmm.GaussianFull(512), 1000, 50)
    return Case(case.ours, None, case.extras | PUBLISHED)


@record("gibbs-diag-100000x384-k100")
def diagonal(quick: bool) -> Case:
    """Diagonal covariances: one matrix product of all points and components dominates."""
    return one_sweep(jaxdpmm.GaussianDiagonal(384), 20_000 if quick else 100_000, 100)


def labelled_model(mixture: jaxdpmm.Mixture, prior: jaxdpmm.Prior, x):
    """The mixture with its labels as a site, as NumPyro's Gibbs wants it."""
    natural, num_components = prior.component, mixture.num_components
    scale = natural.second - natural.first**2 / natural.mean_count
    alpha = numpyro.sample("alpha", dist.Gamma(prior.concentration.shape, prior.concentration.rate))
    v = numpyro.sample("sticks", dist.Beta(1, alpha).expand([num_components - 1]).to_event(1))
    log_rest = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.log1p(-v))])
    log_weights = jnp.concatenate([jnp.log(v), jnp.zeros(1)]) + log_rest
    with numpyro.plate("components", num_components):
        precision = numpyro.sample("precision", dist.Gamma(natural.dof / 2, scale / 2).to_event(1))
        spread = 1 / jnp.sqrt(natural.mean_count * precision)
        mean = numpyro.sample(
            "mean", dist.Normal(natural.first / natural.mean_count, spread).to_event(1)
        )
    density = dist.Normal(mean, 1 / jnp.sqrt(precision)).to_event(1)
    joint = log_weights + density.log_prob(x[:, None])
    numpyro.deterministic("log_likelihood", jnp.sum(jax.nn.logsumexp(joint, axis=1)))
    with numpyro.plate("points", x.shape[0]):
        label = numpyro.sample("label", dist.Categorical(logits=log_weights))
        numpyro.sample(
            "x", dist.Normal(mean[label], 1 / jnp.sqrt(precision[label])).to_event(1), obs=x
        )


def sampler(kernel, x, num_draws: int):
    """A function that draws on from a chain that has been warmed up; compiled once, where `MCMC.run` compiles anew."""
    mcmc = MCMC(kernel, num_warmup=num_draws, num_samples=1, progress_bar=False)
    mcmc.warmup(jax.random.key(0), x)
    state = mcmc.post_warmup_state

    @jax.jit
    def run(state):
        def one(state, _):
            state = kernel.sample(state, (x,), {})
            return state, getattr(state, kernel.sample_field)

        state, sites = jax.lax.scan(one, state, length=num_draws)
        return state, jax.vmap(kernel.postprocess_fn((x,), {}))(sites)

    def draw():
        nonlocal state
        state, samples = run(state)
        return samples

    return draw


def effective_samples(draw) -> tuple[dict[str, float], dict[str, float], float]:
    """ArviZ's bulk effective sample sizes of a run, means, and the seconds that it takes once compiled."""
    import arviz  # here, since `gpu.py` times sweeps where it may not be installed

    jax.block_until_ready(draw())
    start = time.perf_counter()
    samples = jax.block_until_ready(draw())
    seconds = time.perf_counter() - start
    chains = {name: np.asarray(samples[name]) for name in ("alpha", "log_likelihood")}
    effective = {name: float(arviz.ess(chain[None])) for name, chain in chains.items()}
    return effective, {name: float(np.mean(chain)) for name, chain in chains.items()}, seconds


@record("gibbs-ess", peer="numpyro")
def effective(quick: bool) -> Case:
    """The same posterior by two samplers."""
    x = clusters(25, 2, 3)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(2), 4)
    prior = jaxdpmm.default_prior(mixture, x)
    points = jnp.asarray(x)
    our_draws, peer_draws = (20_000, 1_000) if quick else (100_000, 5_000)
    centred = points - prior.offset
    ours = sampler(DPMMGibbs(mixture, prior), points, our_draws)
    kernel = DiscreteHMCGibbs(NUTS(lambda x: labelled_model(mixture, prior, x)))
    peer = sampler(kernel, centred, peer_draws)
    our_effective, our_means, our_seconds = effective_samples(ours)
    peer_effective, peer_means, peer_seconds = effective_samples(peer)
    our_rate = min(our_effective.values()) / our_seconds
    peer_rate = min(peer_effective.values()) / peer_seconds
    extras = {
        "ours_draws": our_draws,
        "peer_draws": peer_draws,
        "ours_means": our_means,
        "peer_means": peer_means,
        "ours_effective": our_effective,
        "peer_effective": peer_effective,
        "ours_effective_per_second": our_rate,
        "peer_effective_per_second": peer_rate,
        "effective_ratio": our_rate / peer_rate,
    }
    return Case(ours, peer, extras, num_runs=2)


if __name__ == "__main__":
    main()
