"""From patch features to a model: every covariance that a detector offers learns, is saved and comes back."""

from dataclasses import replace

import numpy as np
import pytest

from jaxdpmm.choices import COVARIANCES
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.inference import dense
from jaxdpmm.persist import Model, load_model, save_model
from jaxdpmm.scoring import SCORERS, score

DIM, NUM_COMPONENTS = 36, 3
random = np.random.default_rng(0)
CENTRES = 4 * random.normal(size=(NUM_COMPONENTS, DIM))
X = CENTRES[np.arange(300) % NUM_COMPONENTS] + random.normal(size=(300, DIM))
FAR = CENTRES[:1] + 9


def config(covariance):
    return DetectorConfig(covariance=covariance, num_components=6, num_epochs=5)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_every_covariance_learns_and_comes_back_from_its_file(tmp_path, covariance):
    state = fit_mixture(X, replace(config(covariance), whiten=False))
    assert NUM_COMPONENTS <= state.mixture.num_components <= 6
    save_model(tmp_path / "model", Model(state.mixture, state.prior, state.posterior, {}))
    loaded = load_model(tmp_path / "model")
    for name in ("predictive", "mahalanobis"):
        scores = score(*state.scorer(name), np.concatenate([X, FAR]))
        assert scores[-1] > scores[:-1].max()
        again = score(SCORERS[name](loaded.mixture), loaded.posterior, np.concatenate([X, FAR]))
        np.testing.assert_array_equal(again, scores)


def test_candidates_are_as_good_as_all_components():
    """The default local step of full covariance against the dense one at convergence, in nats per point."""
    settled = replace(config("full"), num_epochs=40)
    candidate, all_scored = (fit_mixture(X, settled, local_step=step) for step in (None, dense))
    densities = [
        np.mean(score(*state.scorer("predictive"), X)) for state in (candidate, all_scored)
    ]
    assert densities[0] == pytest.approx(densities[1], abs=1e-3)


@pytest.mark.parametrize("num_epochs", [0, 2])
def test_start_for_coverage(num_epochs, tmp_path):
    """1 % of the patches, but 50 at least; without sweeps the components hold the patches nearest to their seeds."""
    settings = DetectorConfig(covariance="spherical", start="coverage", num_epochs=num_epochs)
    state = fit_mixture(X, settings)
    assert state.facts.num_sweeps == num_epochs
    assert (state.facts.elbo_per_patch is None) == (num_epochs == 0)
    if num_epochs == 0:
        assert state.mixture.num_components == 50
        assert not state.facts.truncation_binds  # so many were asked for
        assert float(state.posterior.counts.sum()) == len(X)
        np.testing.assert_array_equal(state.posterior.counts % 1, 0)
    scores = score(*state.scorer("predictive"), np.concatenate([X, FAR]))
    assert scores[-1] > scores[:-1].max()


def test_number_of_components():
    coverage = DetectorConfig()
    assert [coverage.truncation(number) for number in (20, 3_000, 30_000)] == [20, 50, 300]
    assert DetectorConfig(share=0.1).truncation(30_000) == 3_000
    assert DetectorConfig(start="k-means").truncation(30_000) == 200
    assert DetectorConfig(covariance="full").truncation(30_000) == 200
    assert DetectorConfig(num_components=7).truncation(30_000) == 7
    assert DetectorConfig(num_components="7") == DetectorConfig(num_components=7)
    adaptive = DetectorConfig(num_components="auto")
    assert [adaptive.truncation(number) for number in (20, 300, 30_000)] == [20, 50, 2_400]
    assert DetectorConfig.from_dict(adaptive.to_dict()) == adaptive
    with pytest.raises(ValueError, match=r"start must be one of k-means, coverage, got 'far'"):
        DetectorConfig(start="far")
    for value in (3.5, "many", True):
        with pytest.raises(
            ValueError, match='num_components must be a whole number or "auto", got'
        ):
            DetectorConfig(num_components=value)
    for settings in ({"start": "k-means"}, {"backend": "paper"}):
        with pytest.raises(ValueError, match="num_components must be a number or left out from"):
            DetectorConfig(num_components="auto", **settings)


def test_number_of_sweeps():
    """None from a start for coverage, which sweeps would take components of rare patches from."""
    assert DetectorConfig().sweeps() == 0
    assert DetectorConfig(start="k-means").sweeps() == 100
    assert DetectorConfig(backend="gibbs").sweeps() == 100
    assert DetectorConfig(num_epochs=3).sweeps() == 3
