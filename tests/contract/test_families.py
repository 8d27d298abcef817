"""Every family through `check_family`, in both precisions; and every planted mistake found by it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FAMILIES, gaussian_case, poisson_case
from custom_families import PoissonGamma

from jaxdpmm import GaussianDiagonal
from jaxdpmm.families import Gaussian, gaussian_full
from jaxdpmm.testing import FamilyError, check_family

TOLERANCE = {np.float64: 1e-8, np.float32: 2e-4}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * n.endswith("-1")) for n in FAMILIES],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_family_agrees_with_its_two_required_functions(name, dtype):
    family, prior, x = FAMILIES[name](dtype)
    num_draws = 2000 if isinstance(family, Gaussian) else 0
    check_family(family, prior, jnp.asarray(x), tolerance=TOLERANCE[dtype], num_draws=num_draws)


def test_full_covariance_in_several_blocks(monkeypatch):
    """In many dimensions the products run over blocks of columns; small blocks here, one of them cut."""
    monkeypatch.setattr(gaussian_full, "BLOCK", 2)
    family, prior, x = FAMILIES["full-5"](np.float32)
    check_family(family, prior, jnp.asarray(x), tolerance=TOLERANCE[np.float32])


# Families with one mistake each, a correct family changed in one function; the sentences that must come are below.


@dataclass(frozen=True)
class WrongSign(PoissonGamma):
    def log_partition(self, natural):
        return -super().log_partition(natural)


@dataclass(frozen=True)
class OverflowsInSingle(PoissonGamma):
    def log_partition(self, natural):
        a, b = natural
        return jnp.log1p(jnp.exp(jax.scipy.special.gammaln(a))) - a * jnp.log(b)


@dataclass(frozen=True)
class CancelsInSingle(PoissonGamma):
    def log_partition(self, natural):
        large = (
            1e12 * natural[1] / natural[1]
        )  # no constant, which the compiler would cancel itself
        return (super().log_partition(natural) + large) - large


@dataclass(frozen=True)
class NotFinite(PoissonGamma):
    def log_partition(self, natural):
        return super().log_partition(natural) + jnp.log(natural[0] - natural[0])


@dataclass(frozen=True)
class MissingLeaf(PoissonGamma):
    def sufficient_statistics(self, x):
        return (x,)


@dataclass(frozen=True)
class OtherTree(PoissonGamma):
    def sufficient_statistics(self, x):
        return [x, jnp.ones_like(x)]


@dataclass(frozen=True)
class OtherShape(PoissonGamma):
    def sufficient_statistics(self, x):
        return x[None], jnp.ones_like(x)


@dataclass(frozen=True)
class OtherType(PoissonGamma):
    def sufficient_statistics(self, x):
        return x, jnp.ones_like(x, jnp.float32)


@dataclass(frozen=True)
class TypeOfItsOwn(PoissonGamma):
    def log_base_measure(self, x):
        return super().log_base_measure(x).astype(jnp.float32)


@dataclass(frozen=True)
class NotScalar(GaussianDiagonal):
    def log_partition(self, natural):
        return super().log_partition(natural) * jnp.ones(self.dim, natural.first.dtype)


@dataclass(frozen=True)
class NotJittable(PoissonGamma):
    def sufficient_statistics(self, x):
        return (x, jnp.ones_like(x)) if x >= 0 else (-x, jnp.ones_like(x))


@dataclass(frozen=True)
class PartitionNotJittable(PoissonGamma):
    def log_partition(self, natural):
        return super().log_partition(natural) if natural[0] > 0 else natural[0]


@dataclass(frozen=True)
class MissingConstant(GaussianDiagonal):
    def log_likelihood(self, params, x):
        return -0.5 * self.squared_distance(params, x)


@dataclass(frozen=True)
class MissingConstantOfPredictive(GaussianDiagonal):
    def log_predictive(self, params, x):
        return super().log_predictive(params, x) - params.log_constant


@dataclass(frozen=True)
class WrongExpectation(GaussianDiagonal):
    def expected_params(self, natural):
        return self.point_params(natural)  # forgets the spread of mean and precision


@dataclass(frozen=True)
class WrongGradient(GaussianDiagonal):
    def expected_natural(self, natural):
        return jax.tree.map(lambda leaf: -leaf, super().expected_natural(natural))


@dataclass(frozen=True)
class MeansForSums(GaussianDiagonal):
    def weighted_statistics(self, x, responsibilities):
        return jax.tree.map(
            lambda leaf: leaf / x.shape[0], super().weighted_statistics(x, responsibilities)
        )


@dataclass(frozen=True)
class OtherTreeOfStatistics(GaussianDiagonal):
    def weighted_statistics(self, x, responsibilities):
        return tuple(super().weighted_statistics(x, responsibilities))


@dataclass(frozen=True)
class WrongMatrix(GaussianDiagonal):
    def squared_distance_matrix(self, params, x):
        return 2 * super().squared_distance_matrix(params, x)


@dataclass(frozen=True)
class TransposedMatrix(GaussianDiagonal):
    def log_predictive_matrix(self, params, x):
        return super().log_predictive_matrix(params, x).T


@dataclass(frozen=True)
class NegativeDivergence(GaussianDiagonal):
    def kl_divergence(self, natural, prior):
        return -super().kl_divergence(natural, prior)


@dataclass(frozen=True)
class WrongSampler(GaussianDiagonal):
    def sample_params(self, key, natural):
        return super().sample_params(key, natural._replace(dof=2 * natural.dof))


@dataclass(frozen=True)
class PointNotJittable(GaussianDiagonal):
    def point_params(self, natural):
        return super().point_params(natural) if natural.dof > 0 else None


@dataclass(frozen=True)
class PointNotFinite(GaussianDiagonal):
    def point_params(self, natural):
        return super().point_params(natural._replace(dof=natural.dof * 0))


SENTENCES_OF_COUNTS = {
    WrongSign: r"log_partition must be convex.*wrong sign",
    NotFinite: r"log_partition must be finite.*logarithm of zero",
    OverflowsInSingle: r"log_partition in float32 must be finite.*gammaln",
    CancelsInSingle: r"log_partition must be the same in float32 as in float64",
    MissingLeaf: r"sufficient_statistics must return a tree of the structure of the prior",
    OtherTree: r"sufficient_statistics must return a tree of the structure of the prior",
    OtherShape: r"sufficient_statistics must return a tree of the shapes of the prior.*\(1,\)",
    OtherType: r"sufficient_statistics must return a tree of the types of the prior.*float32",
    TypeOfItsOwn: r"log_base_measure must keep the type float64, got float32",
    NotJittable: r"sufficient_statistics must run under jax.jit, got TracerBool",
    PartitionNotJittable: r"log_partition must run under jax.jit, got TracerBool",
}
SENTENCES_OF_GAUSSIANS = {
    NotScalar: r"log_partition must return a scalar, got shape \(3,\)",
    MissingConstant: r"log_likelihood \(or expected_params\) must equal",
    MissingConstantOfPredictive: r"log_predictive \(or predictive_params\) must equal",
    WrongExpectation: r"log_likelihood \(or expected_params\) must equal",
    WrongGradient: r"expected_natural must equal",
    MeansForSums: r"weighted_statistics must equal",
    OtherTreeOfStatistics: r"weighted_statistics must return a tree of the structure",
    WrongMatrix: r"log_likelihood_matrix must equal",
    TransposedMatrix: r"log_predictive_matrix must return a tree of the shapes \[\(30, 2\)\]",
    NegativeDivergence: r"kl_divergence must equal|kl_divergence must not be negative",
    WrongSampler: r"sample_params must agree with expected_params",
    PointNotJittable: r"point_params must run under jax.jit",
    PointNotFinite: r"log_likelihood at point_params must be finite",
}


@pytest.mark.parametrize("broken", SENTENCES_OF_COUNTS, ids=lambda c: c.__name__)
def test_check_family_finds_mistakes_of_a_family_of_counts(broken):
    _, prior, x = poisson_case()
    with pytest.raises(FamilyError, match=rf"^{broken.__name__}\.{SENTENCES_OF_COUNTS[broken]}"):
        check_family(broken(), prior, jnp.asarray(x / 10))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("broken", SENTENCES_OF_GAUSSIANS, ids=lambda c: c.__name__)
def test_check_family_finds_mistakes_of_a_gaussian(broken):
    _, prior, x = gaussian_case(GaussianDiagonal, 3, np.float32)
    with pytest.raises(
        FamilyError, match=rf"^{broken.__name__}\.({SENTENCES_OF_GAUSSIANS[broken]})"
    ):
        check_family(broken(3), prior, jnp.asarray(x), tolerance=1e-4, num_draws=2000)
