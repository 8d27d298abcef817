"""Time of one CAVI sweep against an iteration of scikit-learn's `BayesianGaussianMixture` and against bare products.

Both start from the same responsibilities, run in float32 (scikit-learn keeps float32 input in
float32; the records say so) and do the same work a sweep: E-step, M-step and lower bound. Each run
is one sweep and goes on from the last, so the seconds are those of an iteration. No tolerance, no
data transfer and no compilation is in them; a fit's fixed costs are paid once.

    python benchmarks/fit.py --json fit.json

`ours_temporary_bytes` is the memory that our compiled sweep takes besides data and posterior;
`peak_memory_bytes` is that of the process, both sides and the data together.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, main, num_cores, record
from sklearn.mixture import BayesianGaussianMixture

import jaxdpmm
from jaxdpmm.inference import ArraySource, LocalStep, dense
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.local_steps.sparse import candidates

DIM = 384
SPREAD = 0.003  # of unit-norm patch features within a cluster
SEEDING_SWEEPS = 2  # sweeps before the clock starts, so that both sides hold a fitted posterior


def unit_norm_clusters(num_points: int, num_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Points about centres spread on the sphere, float32, and the centre of each."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((num_clusters, DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = generator.integers(num_clusters, size=num_points)
    x = centres[labels] + SPREAD * generator.standard_normal((num_points, DIM))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def compare(
    family: jaxdpmm.Family,
    covariance_type: str,
    num_points: int,
    num_components: int,
    local_step: LocalStep = dense,
    **case: Any,
) -> Case:
    """One sweep of each side from the same labels."""
    x, labels = unit_norm_clusters(num_points, num_components)
    ours, temporary = our_sweep(family, x, labels, num_components, local_step)
    peer, model = peer_sweep(covariance_type, x, labels, num_components)
    for _ in range(SEEDING_SWEEPS):
        ours(), peer()
    extras = {
        "num_points": num_points,
        "dim": DIM,
        "num_components": num_components,
        "threads": num_cores(),
        "ours_dtype": "float32",
        "peer_dtype": str(model.precisions_cholesky_.dtype),
        "ours_temporary_bytes": temporary,
        "responsibilities_bytes": 4 * num_points * num_components,
    }
    return Case(ours, peer, extras | case.pop("extras", {}), **case)


def our_sweep(
    family: jaxdpmm.Family,
    x: np.ndarray,
    labels: np.ndarray,
    num_components: int,
    local_step: LocalStep = dense,
):
    """A function that runs one compiled sweep, and the bytes it takes besides its arguments."""
    mixture = jaxdpmm.Mixture(family, num_components, jaxdpmm.DirichletProcess(False))
    prior = jaxdpmm.default_prior(mixture, x)
    algorithm = jaxdpmm.cavi(mixture, prior, local_step)
    (batch,) = ArraySource(x, family).sweep()
    layout = Layout(1, len(x), float(len(x)))
    state = algorithm.init(posterior_of_labels(mixture, prior, x, labels), layout)
    state, key = jax.tree.map(jnp.copy, state), jax.random.key(0)
    step = jax.jit(algorithm.step, donate_argnums=1).lower(key, state, batch).compile()  # as in fit

    def sweep():
        nonlocal state
        state, info = step(key, state, batch)
        return state, info

    return sweep, step.memory_analysis().temp_size_in_bytes


def posterior_of_labels(mixture, prior, x, labels) -> jaxdpmm.Posterior:
    """One global update from one-hot responsibilities."""
    from jaxdpmm.model import global_update, summarize

    responsibilities = jax.nn.one_hot(labels, mixture.num_components, dtype=jnp.float32)
    stats = jax.jit(summarize, static_argnums=0)(
        mixture, responsibilities, jnp.asarray(x), jnp.ones(len(x), jnp.float32), prior.offset
    )
    return global_update(mixture, prior, stats)


def peer_sweep(covariance_type: str, x: np.ndarray, labels: np.ndarray, num_components: int):
    """A function that runs the body of scikit-learn's loop once, and its model."""
    model = BayesianGaussianMixture(
        n_components=num_components, covariance_type=covariance_type, max_iter=1
    )
    model._check_parameters(x)
    model._initialize(x, np.eye(num_components, dtype=np.float32)[labels])

    def sweep():
        log_evidence, log_responsibilities = model._e_step(x)
        model._m_step(x, log_responsibilities)
        return model._compute_lower_bound(log_responsibilities, log_evidence)

    return sweep, model


@record("diag-k128", peer="scikit-learn")
def diagonal(quick: bool) -> Case:
    """Diagonal covariance: the default for patch features."""
    num_points = 16_384 if quick else 65_536
    return compare(jaxdpmm.GaussianDiagonal(DIM), "diag", num_points, 128)


@record("spherical-k128", peer="scikit-learn")
def spherical(quick: bool) -> Case:
    """One variance a component."""
    num_points = 16_384 if quick else 65_536
    return compare(jaxdpmm.GaussianSpherical(DIM), "spherical", num_points, 128)


@record("full-k32", peer="scikit-learn")
def full(quick: bool) -> Case:
    """Full covariance; with `--quick` fewer points, so that the fixed cost a component weighs more."""
    num_points = 4_096 if quick else 8_192
    return compare(jaxdpmm.GaussianFull(DIM), "full", num_points, 32)


@record("full-k256-candidates", peer="scikit-learn", in_quick=False)
def full_candidates(quick: bool) -> Case:
    """Full covariance with the candidate E-step, and what it costs in held-out density against the dense one."""
    num_points, num_components = (4_096, 64) if quick else (32_768, 256)
    family = jaxdpmm.GaussianFull(DIM)
    extras = {
        f"held_out_density_{name}": held_out_density(family, num_points, num_components, step)
        for name, step in (("candidates", candidates()), ("dense", dense))
    }
    return compare(
        family, "full", num_points, num_components, candidates(), extras=extras, num_runs=5
    )


def held_out_density(family, num_points: int, num_components: int, local_step: LocalStep) -> float:
    """Mean log predictive density of new points, in nats, after some sweeps from k-means."""
    x, _ = unit_norm_clusters(num_points + 4096, num_components)
    train, held_out = x[:num_points], x[num_points:]
    mixture = jaxdpmm.Mixture(family, num_components)
    prior = jaxdpmm.default_prior(mixture, train)
    start = jaxdpmm.initialize(mixture, prior, train, key=jax.random.key(0))
    algorithm = jaxdpmm.cavi(mixture, prior, local_step)
    posterior = jaxdpmm.fit(algorithm, train, start, num_epochs=3).posterior
    return float(np.mean(jaxdpmm.log_predictive_density(mixture, posterior, held_out)))


@record("diag-k128-floor", peer="bare products")
def diagonal_floor(quick: bool) -> Case:
    """The sweep against the matrix products in it; 1 is the most that can be reached."""
    return against_products(16_384 if quick else 65_536, 128)


@record("diag-k512-floor", peer="bare products")
def diagonal_floor_512(quick: bool) -> Case:
    """As many components as the paper has."""
    return against_products(8_192 if quick else 65_536, 512)


def against_products(num_points: int, num_components: int) -> Case:
    """One diagonal sweep, and x P, x^2 Q, R' x, R' x^2 for parameters and responsibilities of its shapes."""
    x, labels = unit_norm_clusters(num_points, num_components)
    ours, _ = our_sweep(jaxdpmm.GaussianDiagonal(DIM), x, labels, num_components)
    x = jnp.asarray(x)
    squares = x * x
    params = jax.random.normal(jax.random.key(0), (2, DIM, num_components))
    responsibilities = jax.random.uniform(jax.random.key(1), (num_points, num_components))

    @jax.jit
    def products(x, squares, params, responsibilities):
        likelihood = x @ params[0] + squares @ params[1]
        return likelihood, responsibilities.T @ x, responsibilities.T @ squares

    extras = {"num_points": num_points, "dim": DIM, "num_components": num_components}
    return Case(ours, lambda: products(x, squares, params, responsibilities), extras)


if __name__ == "__main__":
    main()
