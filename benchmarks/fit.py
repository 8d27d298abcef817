"""Time of one CAVI sweep against one iteration of scikit-learn's `BayesianGaussianMixture`.

Both start from the same responsibilities, run in float32 (scikit-learn keeps float32 input in
float32; the records say so) and do the same work a sweep: E-step, M-step and lower bound. Each run
is one sweep and goes on from the last, so the seconds are those of an iteration. No tolerance, no
data transfer and no compilation is in them; a fit's fixed costs are paid once.

    python benchmarks/fit.py --json fit.json

`ours_temporary_bytes` is the memory that our compiled sweep takes besides data and posterior;
`peak_memory_bytes` is that of the process, both sides and the data together.
"""

import jax
import jax.numpy as jnp
import numpy as np
from harness import Case, main, num_cores, record
from sklearn.mixture import BayesianGaussianMixture

import jaxdpmm
from jaxdpmm.inference import ArraySource

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
    family: jaxdpmm.Family, covariance_type: str, num_points: int, num_components: int
) -> Case:
    """One sweep of each side from the same labels."""
    x, labels = unit_norm_clusters(num_points, num_components)
    ours, temporary = our_sweep(family, x, labels, num_components)
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
    return Case(ours, peer, extras)


def our_sweep(family, x: np.ndarray, labels: np.ndarray, num_components: int):
    """A function that runs one compiled sweep, and the bytes it takes besides its arguments."""
    mixture = jaxdpmm.Mixture(family, num_components, jaxdpmm.DirichletProcess(False))
    prior = jaxdpmm.default_prior(mixture, x)
    algorithm = jaxdpmm.cavi(mixture, prior)
    (batch,) = ArraySource(x, family).sweep()
    state = algorithm.init(posterior_of_labels(mixture, prior, x, labels))
    key = jax.random.key(0)
    step = jax.jit(algorithm.step).lower(key, state, batch).compile()

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


if __name__ == "__main__":
    main()
