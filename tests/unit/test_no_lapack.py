"""No compiled program calls LAPACK on a CPU: batches of such calls wait for each other for ever on few cores."""

import ast
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm import GaussianFull, Mixture, default_prior, initialize
from jaxdpmm.bound import elbo, log_evidence
from jaxdpmm.families import GaussianLowRank
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.backends import label_switching, split_merge
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.online_em import online_em
from jaxdpmm.inference.backends.stochastic import stochastic
from jaxdpmm.inference.data.mesh import device_mesh
from jaxdpmm.inference.empirical_bayes import gaussian_scales
from jaxdpmm.inference.growth.moves import with_moves
from jaxdpmm.inference.local_steps.dense import dense
from jaxdpmm.inference.local_steps.sharded import sharded
from jaxdpmm.inference.local_steps.sparse import candidates, sparse
from jaxdpmm.model import empty_stats
from jaxdpmm.scoring import SCORERS

PACKAGE = Path(jaxdpmm.__file__).parent
X = np.random.default_rng(0).normal(size=(60, 4))
FAMILIES = {
    "full": GaussianFull(4),
    "low-rank": GaussianLowRank(4, 2),
}
BACKENDS = {
    "cavi": lambda mixture, prior: jaxdpmm.cavi(mixture, prior),
    "cavi-sparse": lambda mixture, prior: jaxdpmm.cavi(mixture, prior, sparse(2)),
    "cavi-candidates": lambda mixture, prior: jaxdpmm.cavi(mixture, prior, candidates(3, 1)),
    "cavi-sharded": lambda mixture, prior: jaxdpmm.cavi(
        mixture, prior, sharded(dense, device_mesh())
    ),
    "memoized": memoized,
    "moves": lambda mixture, prior: with_moves(memoized(mixture, prior)),
    "stochastic": stochastic,
    "online_em": online_em,
    "gibbs": lambda mixture, prior: gibbs(
        mixture, prior, moves=(label_switching(), split_merge())
    ),
}  # fmt: skip
FACTORISE = ("cholesky", "inv", "solve", "eigh", "svd", "qr", "det", "slogdet", "lstsq", "pinv")
FORBIDDEN = {
    f"{module}.linalg.{name}"
    for module in ("jnp", "jax.numpy", "jax.scipy", "jax.lax")
    for name in FACTORISE
}


def check(function, *arguments):
    """That the program of a function holds no custom call of LAPACK's."""
    text = jax.jit(function).lower(*arguments).as_text()
    assert "stablehlo" in text
    assert "lapack" not in text


def problem(family, num_components=5):
    """Mixture, prior and start."""
    mixture = Mixture(family, num_components)
    prior = default_prior(mixture, X)
    return mixture, prior, initialize(mixture, prior, X, key=jax.random.key(0))


fitted = functools.cache(lambda name: problem(FAMILIES[name]))
PAIRS = [
    (family, backend)
    for family in FAMILIES
    for backend in BACKENDS
    if backend != "gibbs" or FAMILIES[family].offers("sample_params")
]


def test_such_calls_would_be_found():
    matrices = jnp.broadcast_to(jnp.eye(3), (2, 3, 3))
    with pytest.raises(AssertionError):
        check(jnp.linalg.cholesky, matrices)
    with pytest.raises(AssertionError):
        check(jax.scipy.linalg.solve_triangular, matrices, matrices)


@pytest.mark.parametrize(("family", "backend"), PAIRS)
def test_steps(family, backend):
    mixture, prior, start = fitted(family)
    algorithm = BACKENDS[backend](mixture, prior)
    batch = next(iter(ArraySource(X, mixture.family).sweep()))
    layout = jaxdpmm.inference.base.Layout(1, len(X), float(len(X)))
    state = jax.eval_shape(lambda start: algorithm.init(start, layout), start)
    check(algorithm.step, jax.random.key(0), state, batch)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_scores(name):
    mixture, _, start = fitted("low-rank" if name == "residual" else "full")
    scorer = SCORERS[name](mixture)
    check(lambda start, x: scorer.score(scorer.prepare(start), x), start, X)


@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_and_gradients(family):
    mixture, prior, start = fitted(family)
    stats = empty_stats(start)
    check(jax.grad(lambda start: elbo(mixture, prior, start, stats), allow_int=True), start)
    check(jax.vmap(mixture.family.expected_natural), start.components)


def test_empirical_bayes():
    mixture, prior, start = fitted("full")
    free, build = gaussian_scales(mixture.family, prior.component)

    def evidence(free):
        built = prior._replace(component=build(free))
        return jnp.sum(log_evidence(mixture, built, start.components))

    check(jax.grad(evidence), free)


def test_numpyro_sites():
    numpyro_infer = pytest.importorskip("numpyro.infer")
    import optax
    from numpyro.infer.util import log_density

    from jaxdpmm.inference.numpyro import initial_values, numpyro_model, structured_guide

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        mixture, prior, start = fitted("full")
        model, guide = numpyro_model(mixture, prior), structured_guide(mixture, prior, start)
        loss = numpyro_infer.TraceMeanField_ELBO()
        svi = numpyro_infer.SVI(model, guide, optax.adam(0.01), loss)
        check(svi.init, jax.random.key(0), X)
        check(svi.update, jax.eval_shape(svi.init, jax.random.key(0), X), X)
        sites = initial_values(mixture, prior, start, jax.random.key(1))
        check(jax.grad(lambda sites: log_density(model, (X,), {}, sites)[0]), sites)


def test_one_module_alone_factorises():
    """Others ask `factorize.py`; NumPy and SciPy are free to, since their calls are in no program."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN)
        or (isinstance(node, ast.ImportFrom) and node.module == "jax.scipy.linalg")
    }
    assert found == {"families/factorize.py"}
