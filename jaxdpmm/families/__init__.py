"""What one component looks like: conjugate exponential families.

`base.Family` is the contract (two required functions); the Gaussian families show how to override what it
derives. Names: full, tied, diagonal and spherical say what covariance a component may have.
"""

from jaxdpmm.families.base import Family
from jaxdpmm.families.gaussian import Gaussian
from jaxdpmm.families.gaussian_diagonal import GaussianDiagonal
from jaxdpmm.families.gaussian_full import GaussianFull
from jaxdpmm.families.gaussian_low_rank import GaussianLowRank
from jaxdpmm.families.gaussian_spherical import GaussianSpherical
from jaxdpmm.families.gaussian_tied import GaussianTied
from jaxdpmm.families.likelihood import Likelihood
from jaxdpmm.families.normal_wishart import (
    GaussianParams,
    NormalWishart,
    NormalWishartGaussian,
    StudentT,
)
from jaxdpmm.families.product import Block, ProductFamily
from jaxdpmm.families.von_mises_fisher import VonMisesFisher

__all__ = [
    "Block",
    "Family",
    "Gaussian",
    "GaussianDiagonal",
    "GaussianFull",
    "GaussianLowRank",
    "GaussianParams",
    "GaussianSpherical",
    "GaussianTied",
    "Likelihood",
    "NormalWishart",
    "NormalWishartGaussian",
    "ProductFamily",
    "StudentT",
    "VonMisesFisher",
]
