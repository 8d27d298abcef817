"""Maps against hand computation, torch's interpolation and SciPy's filter; image scores by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxdpmm.detection.maps import anomaly_map, image_score, image_scores, map_weights
from jaxdpmm.images.geometry import Frame, Preprocessing, frame_of
from jaxdpmm.images.transforms import crop_to_multiple, resize_short_side

SCORES = np.random.default_rng(0).random((4, 6))


def plain_frame(height, width, grid, patch_size=14):
    """Frame of an image that was resized to whole patches, without a crop."""
    resized = (grid[0] * patch_size, grid[1] * patch_size)
    return Frame((height, width), resized, (0, 0), resized, patch_size)


def test_by_hand():
    frame = plain_frame(1, 4, (1, 2))
    found = anomaly_map(jnp.asarray([[0.0, 8.0]]), frame, sigma=0.0)
    np.testing.assert_allclose(found, [[0, 2, 6, 8]], atol=1e-15)


@pytest.mark.parametrize("size", [(56, 84), (61, 100), (3, 5), (4, 6)])
def test_equals_torch_bilinear(size):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(SCORES)[None, None], size, mode="bilinear", align_corners=False
    )
    found = anomaly_map(jnp.asarray(SCORES), plain_frame(*size, (4, 6)), sigma=0.0)
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-14)


@pytest.mark.parametrize("sigma", [1.5, 4.0])
def test_smoothing_equals_scipy(sigma):
    frame = plain_frame(50, 70, (4, 6))
    rough = np.asarray(anomaly_map(jnp.asarray(SCORES), frame, sigma=0.0))
    found = anomaly_map(jnp.asarray(SCORES), frame, sigma=sigma)
    np.testing.assert_allclose(found, scipy.ndimage.gaussian_filter(rough, sigma), atol=1e-14)


def test_cropped_edge_repeats_the_nearest_score():
    frame = frame_of((28, 51), Preprocessing(short_side=28))
    assert (frame.corner, frame.grid) == ((0, 4), (2, 3))
    found = np.asarray(anomaly_map(jnp.asarray([[0.0, 1, 2], [0, 1, 2]]), frame, sigma=0.0))
    np.testing.assert_array_equal(found[:, : 4 + 7], 0)
    np.testing.assert_array_equal(found[:, 4 + 35 :], 2)
    np.testing.assert_allclose(found[0, 4 + 14], 0.5 + 0.5 / 14, atol=1e-14)


def test_spot_is_found_where_it_was():
    """A bright spot goes through resize and crop, and its map peaks at its original place."""
    image = np.zeros((90, 200, 3), np.float32)
    image[55:61, 150:156] = 1
    preprocessing = Preprocessing(short_side=180, patch_size=4)
    prepared = crop_to_multiple(resize_short_side(image, 180), 4)
    frame = frame_of((90, 200), preprocessing)
    patches = prepared[:, :, 0].reshape(frame.grid[0], 4, frame.grid[1], 4).mean((1, 3))
    found = np.asarray(anomaly_map(jnp.asarray(patches, jnp.float32), frame, sigma=1.0))
    assert (found.shape, found.dtype) == ((90, 200), np.float32)
    centre = scipy.ndimage.center_of_mass(found)
    np.testing.assert_allclose(centre, (57.5, 152.5), atol=0.05)


def test_constant_scores_give_a_constant_map():
    frame = frame_of((37, 61), Preprocessing(short_side=20, patch_size=3))
    np.testing.assert_allclose(anomaly_map(jnp.full(frame.grid, 2.5), frame), 2.5, atol=1e-13)


def test_single_patch():
    frame = plain_frame(5, 7, (1, 1))
    np.testing.assert_allclose(anomaly_map(jnp.asarray([[3.0]]), frame), 3, atol=1e-13)


def test_weights_make_the_same_map_in_a_compiled_function():
    frame = frame_of((28, 51), Preprocessing(short_side=28))
    rows, columns = (jnp.asarray(weights) for weights in map_weights(frame, 2.0))
    scores = jnp.asarray(SCORES[:2, :3])
    found = jax.jit(lambda scores: rows @ scores @ columns.T)(scores)
    np.testing.assert_allclose(found, anomaly_map(SCORES[:2, :3], frame, 2.0), atol=1e-14)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-14)


def test_map_errors():
    frame = plain_frame(50, 70, (4, 6))
    with pytest.raises(ValueError, match=r"shape \(4, 6\), one per patch .* got \(6, 4\); reshape"):
        anomaly_map(jnp.asarray(SCORES.T), frame)
    with pytest.raises(ValueError, match=r"sigma must not be negative, got -1"):
        anomaly_map(jnp.asarray(SCORES), frame, sigma=-1.0)


def test_image_score_is_the_mean_of_the_top():
    scores = jnp.asarray(np.random.default_rng(0).permutation(1200) * 1.0).reshape(30, 40)
    assert float(image_score(scores)) == pytest.approx(np.mean(np.arange(1188, 1200)))
    assert float(image_score(scores[:5, :5])) == float(scores[:5, :5].max())
    assert float(image_score(scores, fraction=1.0)) == pytest.approx(599.5)
    assert float(image_score(jnp.arange(300.0))) == pytest.approx(298)  # three patches, not two
    batch = jax.jit(jax.vmap(image_score))(scores.reshape(3, 400))
    np.testing.assert_allclose(batch, np.sort(scores.reshape(3, 400))[:, -4:].mean(axis=1))


def test_image_score_of_logs_is_the_mean_of_what_they_are_the_logs_of():
    distances = np.random.default_rng(1).gamma(2.0, size=(3, 400))
    nats = jnp.asarray(np.log1p(0.25 * distances) / 0.25)
    means = np.sort(distances)[:, -4:].mean(axis=1)
    found = image_scores(nats.reshape(3, 20, 20), 0.01, 0.25)
    np.testing.assert_allclose(found, np.log1p(0.25 * means) / 0.25, rtol=1e-12)
    assert image_score(nats[0], exponent=1e-9) == pytest.approx(float(image_score(nats[0])))


def test_image_score_fraction():
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], got 1\.5"):
        image_score(jnp.ones(4), fraction=1.5)
