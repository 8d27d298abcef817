"""A likelihood is a family less its prior, what needs one says so; `offers` tells of optional functions."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from cases import FAMILIES

from jaxdpmm import (
    Block,
    Family,
    Gamma,
    GaussianDiagonal,
    GaussianFull,
    GaussianLowRank,
    GaussianTied,
    Likelihood,
    Mixture,
    Posterior,
    Prior,
    ProductFamily,
    cavi,
    default_prior,
    initialize,
)
from jaxdpmm.inference.numpyro import structured_guide
from jaxdpmm.sticks import Sticks


class Cauchy(Likelihood):
    """One number about a location."""

    def log_likelihood(self, params, x):
        return -jnp.log1p((x - params) ** 2)


def test_a_likelihood_has_what_needs_no_prior():
    x, locations = jnp.arange(4.0), jnp.array([0.0, 2.0])
    expected = -np.log1p((np.arange(4.0)[:, None] - np.array([0.0, 2.0])) ** 2)
    np.testing.assert_allclose(Cauchy().log_likelihood_matrix(locations, x), expected)
    assert not hasattr(Cauchy(), "log_partition")


def test_what_needs_a_prior_says_so():
    mixture = Mixture(Cauchy(), 2)
    one = jnp.ones(())
    sticks = Sticks(jnp.ones(1), jnp.ones(1), Gamma(one, one))
    prior, posterior = Prior((), Gamma(one, one)), Posterior(sticks, (), jnp.ones(2))
    sentence = (
        "family must be a conjugate Family, got Cauchy, a Likelihood; fit it with numpyro_model"
    )
    with pytest.raises(TypeError, match=sentence):
        default_prior(mixture, np.arange(4.0))
    with pytest.raises(TypeError, match=sentence):
        cavi(mixture, prior).init(posterior)


@pytest.mark.parametrize("name", FAMILIES)
def test_offers_tells_what_can_be_called(name):
    family, prior, _ = FAMILIES[name](np.float64)
    for function in ("point_params", "sample_params"):
        arguments = (jax.random.key(0), prior) if function == "sample_params" else (prior,)
        try:
            getattr(family, function)(*arguments)
        except TypeError:
            assert not family.offers(function), function
        else:
            assert family.offers(function), function


def test_a_product_offers_what_every_block_does():
    class Bare(Family):
        def sufficient_statistics(self, x):
            return x

        def log_partition(self, natural):
            return 0.5 * natural**2

    gaussian = Block("gaussian", GaussianDiagonal(2))
    assert ProductFamily((gaussian,)).offers("sample_params")
    both = ProductFamily((gaussian, Block("bare", Bare(), ())))
    assert not both.offers("sample_params")
    assert GaussianFull(2).offers("sample_params")
    assert not GaussianTied(2).offers("sample_params")


def test_low_rank_has_no_structured_guide_and_says_so():
    x = np.random.default_rng(0).normal(size=(40, 4))
    mixture = Mixture(GaussianLowRank(4, 1), 2)
    prior = default_prior(mixture, x)
    start = initialize(mixture, prior, x, key=jax.random.key(0))
    guide = numpyro.handlers.seed(structured_guide(mixture, prior, start), jax.random.key(0))
    with pytest.raises(TypeError, match=r"GaussianLowRank has no structured guide: .*AutoNormal"):
        guide(x)
