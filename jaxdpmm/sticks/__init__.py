"""How many components there are and how large: stick-breaking priors of the mixture weights."""

from jaxdpmm.sticks.base import (
    Gamma,
    StickBreaking,
    Sticks,
    beta_kl_divergence,
    expected_log_weights,
    log_mean_weights,
    log_mode_weights,
    remaining_counts,
    sample_log_weights,
    without_weight,
)
from jaxdpmm.sticks.concentration import FixedConcentration, GammaConcentration
from jaxdpmm.sticks.dirichlet_process import DirichletProcess
from jaxdpmm.sticks.pitman_yor import PitmanYor
from jaxdpmm.sticks.symmetric_dirichlet import SymmetricDirichlet

__all__ = [
    "DirichletProcess",
    "FixedConcentration",
    "Gamma",
    "GammaConcentration",
    "PitmanYor",
    "StickBreaking",
    "Sticks",
    "SymmetricDirichlet",
    "beta_kl_divergence",
    "expected_log_weights",
    "log_mean_weights",
    "log_mode_weights",
    "remaining_counts",
    "sample_log_weights",
    "without_weight",
]
