"""CAVI with full and with tied covariance against scikit-learn's variational mixture, sweep by sweep in float64.

scikit-learn leaves the last stick free, which moves its last expected log weight; so each sweep starts from the
responsibilities that scikit-learn itself has, and all that follows from them is compared.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import BayesianGaussianMixture

from jaxdpmm import DirichletProcess, Gamma, GaussianFull, GaussianTied, Mixture, Prior
from jaxdpmm.model import expected_readout, global_update, log_joint, summarize

pytestmark = pytest.mark.optimised

K, D, ALPHA, MEAN_COUNT, DOF = 5, 3, 0.7, 0.1, 5.0


@pytest.fixture
def x():
    random = np.random.default_rng(0)
    centres = 4 * random.normal(size=(4, D))
    return centres[random.integers(0, 4, 400)] + 0.5 * random.normal(size=(400, D))


@pytest.mark.parametrize(("kind", "family"), [("full", GaussianFull), ("tied", GaussianTied)])
def test_every_sweep_agrees(x, kind, family):
    theirs = BayesianGaussianMixture(
        n_components=K,
        covariance_type=kind,
        reg_covar=0.0,
        max_iter=1,
        init_params="random",
        random_state=0,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=ALPHA,
        mean_precision_prior=MEAN_COUNT,
        mean_prior=x.mean(0),
        degrees_of_freedom_prior=DOF,
        covariance_prior=np.cov(x.T),
    )
    with pytest.warns(UserWarning, match="did not converge"):
        theirs.fit(x)
    mixture = Mixture(family(D), K, DirichletProcess(infer_concentration=False))
    offset = jnp.asarray(x.mean(0))
    # scikit-learn's prior scale is the inverse Wishart's own, ours divides it by the degrees of freedom
    component = mixture.family.prior(jnp.zeros(D), jnp.asarray(np.cov(x.T)) / DOF, MEAN_COUNT, DOF)
    prior = Prior(component, Gamma(jnp.asarray(ALPHA), jnp.asarray(1.0)), offset)
    points, ones = jnp.asarray(x), jnp.ones(len(x))
    for _ in range(40):
        _, log_responsibilities = theirs._e_step(x)
        theirs._m_step(x, log_responsibilities)
        responsibilities = jnp.asarray(np.exp(log_responsibilities))
        stats = summarize(mixture, responsibilities, points, ones, offset)
        ours = global_update(mixture, prior, stats)
        means = ours.components.first / ours.components.mean_count[:, None] + offset[None]
        np.testing.assert_allclose(means, theirs.means_, atol=1e-8)
        np.testing.assert_allclose(ours.components.dof, theirs.degrees_of_freedom_, rtol=1e-8)
        a, b = theirs.weight_concentration_
        np.testing.assert_allclose(ours.sticks.a, a[:-1], rtol=1e-8)
        np.testing.assert_allclose(ours.sticks.b, b[:-1], rtol=1e-8)
        joint = log_joint(mixture, expected_readout(mixture, ours), points)
        expected = theirs._estimate_log_prob(x) + theirs._estimate_log_weights()
        np.testing.assert_allclose(joint[:, :-1], expected[:, :-1], atol=1e-8)
