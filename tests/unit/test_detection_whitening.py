"""Features whitened before a mixture: what varies about every mean counts less, and nothing else is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from synthetic import SIDE

from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.reduction import (
    Principal,
    ReducedRows,
    Whitened,
    arrays_of,
    reduce_features,
    reduction_of,
)
from jaxdpmm.detection.whitening import FEATURES_PER_AXIS, KEPT, learn_whitening

DIM, NUM_KINDS, WIDE = 64, 50, 6.0


def kinds_with_nuisance(random, number):
    """Tight kinds of points on a sphere of 64 axes, all of which vary along the same two, and the two axes."""
    axes = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    kinds = 10 * random.normal(size=(NUM_KINDS, DIM))
    labels = random.integers(0, NUM_KINDS, size=number)
    nuisance = WIDE * random.normal(size=(number, 2)) @ axes[:, :2].T
    return kinds[labels] + nuisance + 0.5 * random.normal(size=(number, DIM)), axes, labels


def test_what_varies_about_every_mean_is_found_and_taken_back(key):
    x, axes, labels = kinds_with_nuisance(np.random.default_rng(0), 4000)
    whitened = learn_whitening(x.astype(np.float32), key)
    cosines = np.linalg.svd(np.asarray(whitened.axes)[:, :2].T @ axes[:, :2])[1]
    np.testing.assert_allclose(cosines, 1, atol=1e-2)
    apart = x - np.stack([x[labels == k].mean(axis=0) for k in range(NUM_KINDS)])[labels]
    variances = np.linalg.eigvalsh(apart.T @ apart / len(x))[::-1]
    factors = 1 / np.sqrt(1 + variances / (KEPT * variances.mean()))
    expected = factors[:2] / factors[DIM // FEATURES_PER_AXIS :].mean()
    np.testing.assert_allclose(whitened.factors[:2], expected, rtol=0.05)


def test_factors_are_those_of_the_shrunk_root_of_the_covariance_about_means(key):
    x, _, labels = kinds_with_nuisance(np.random.default_rng(1), 4000)
    whitened = learn_whitening(x.astype(np.float32), key)
    apart = x - np.stack([x[labels == k].mean(axis=0) for k in range(NUM_KINDS)])[labels]
    covariance = apart.T @ apart / len(x)
    root = np.linalg.inv(sqrtm(np.eye(DIM) + covariance / (KEPT * np.trace(covariance) / DIM)))
    axes, factors = (np.asarray(part, float) for part in whitened)
    rest = np.sort(np.linalg.eigvalsh(root))[len(factors) :].mean()
    np.testing.assert_allclose(axes.T @ root @ axes, np.diag(factors * rest), atol=1e-2)
    ours = np.asarray(whitened.project(jnp.asarray(x, jnp.float32)))
    theirs = x @ (np.eye(DIM) + axes @ np.diag(factors - 1) @ axes.T)
    theirs *= np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(
        theirs, axis=1, keepdims=True
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert (np.diff(factors) > 0).all()  # the widest direction keeps least


def test_an_anomaly_hidden_by_what_varies_everywhere_is_found(key):
    random = np.random.default_rng(2)
    x, axes, _ = kinds_with_nuisance(random, 4000)
    normal, anomalous = x[3000:3500], x[3500:].copy()
    anomalous += 5 * axes[:, 5]
    auroc = {}
    for whiten in (False, True):
        config = DetectorConfig(whiten=whiten, p_values=False)
        state = fit_mixture(x[:3000].astype(np.float32), config)
        scorer, fitted = state.scorer("cosine")
        params = scorer.prepare(fitted)
        low, high = (
            np.asarray(scorer.score(params, jnp.asarray(part, jnp.float32)))
            for part in (normal, anomalous)
        )
        auroc[whiten] = np.mean(low[:, None] < high[None])
    assert auroc[False] < 0.8
    assert auroc[True] > 0.9


class Store:
    """Rows that are read from somewhere, and how many at most at once."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype, self.most = rows, rows.shape, rows.dtype, 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        found = self.rows[place]
        self.most = max(self.most, len(found))
        return found


def test_rows_of_a_store_are_whitened_when_they_are_read(key, tmp_path):
    x = kinds_with_nuisance(np.random.default_rng(3), 3000)[0].astype(np.float32)
    whitened = learn_whitening(x, key)
    store = Store(x)
    rows = reduce_features(whitened, store)
    assert isinstance(rows, ReducedRows)
    assert (rows.shape, len(rows), rows.dtype) == (x.shape, 3000, np.float32)
    at_once = reduce_features(whitened, x)
    np.testing.assert_allclose(rows[10:20], at_once[10:20], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rows[np.array([5, 2000])], at_once[[5, 2000]], rtol=1e-5, atol=1e-5)
    assert rows[:0].shape == (0, DIM)
    assert store.most == 10
    np.save(tmp_path / "x.npy", x)
    assert isinstance(reduce_features(whitened, np.load(tmp_path / "x.npy", "r")), ReducedRows)
    config = DetectorConfig(p_values=False, whiten=True)
    ours, theirs = (fit_mixture(part, config) for part in (store, x))
    np.testing.assert_allclose(ours.posterior.counts, theirs.posterior.counts, atol=1e-3)


def test_it_is_kept_with_the_model(tmp_path, data, backbone):
    config = DetectorConfig(backbone=backbone.name, short_side=SIDE, num_components=3)
    detector = Detector.fit(data.train, config, backbone=backbone)
    assert isinstance(detector.state.reduction, Whitened)
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", backbone=backbone)
    for ours, theirs in zip(detector.score(data.test), loaded.score(data.test), strict=True):
        np.testing.assert_array_equal(ours.patch_scores, theirs.patch_scores)


def test_wrong_parts_of_a_file_are_refused(key):
    whitened = learn_whitening(np.random.default_rng(4).normal(size=(500, 8)), key)
    arrays = arrays_of(whitened)
    assert isinstance(reduction_of(arrays, (8,)), Whitened)
    for wrong in (
        {"whitened/axes": arrays["whitened/axes"][:7]},
        {"whitened/factors": arrays["whitened/factors"][:1]},
        {"whitened/factors": arrays["whitened/factors"] * np.nan},
    ):
        with pytest.raises(ValueError, match="whitened axes of shapes"):
            reduction_of({**arrays, **wrong}, (8,))


def test_where_features_stay_as_they_are():
    assert DetectorConfig().whiten
    assert not DetectorConfig.preset("paper").whiten
    assert not DetectorConfig.from_dict({}).whiten  # a file of before
    x = np.random.default_rng(6).normal(size=(300, 8)).astype(np.float32)
    assert fit_mixture(x, DetectorConfig(whiten=False)).reduction is None
    assert isinstance(fit_mixture(x, DetectorConfig(num_principal=3)).reduction, Principal)
    assert fit_mixture(x, DetectorConfig(contamination=0.1)).reduction is None
    few = learn_whitening(x[:, :3], jax.random.key(0))
    np.testing.assert_allclose(few.project(jnp.asarray(x[:, :3])), x[:, :3], rtol=1e-6)


def test_features_that_are_not_finite_or_all_alike(key):
    x = np.random.default_rng(5).normal(size=(300, 8)).astype(np.float32)
    x[7, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        learn_whitening(x, key)
    alike = learn_whitening(np.ones((300, 8), np.float32), key)
    assert all(bool(jnp.isfinite(part).all()) for part in jax.tree.leaves(alike))
