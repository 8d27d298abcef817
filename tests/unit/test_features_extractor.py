"""Images to patch grids: normalisation, layers, order of the patches, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dinov2_random import VARIANTS, random_tensors

from jaxdpmm.features import Backbone, Dinov2Config, PatchExtractor, VisionTransformer
from jaxdpmm.features.conversion import convert_tensors
from jaxdpmm.features.extractor import normalize_images


def build(variant):
    values = VARIANTS[variant]
    config = Dinov2Config.from_dict(values)
    return Backbone(variant, config, convert_tensors(config, random_tensors(values)))


@pytest.fixture(scope="module")
def backbone():
    return build("registers")


@pytest.fixture
def images():
    return np.random.default_rng(0).random((2, 42, 56, 3), np.float32)


@pytest.mark.parametrize("variant", ["plain", "registers"])
def test_grid_is_the_networks_patch_tokens(variant, images):
    backbone = build(variant)
    patches = PatchExtractor(2, normalize=False).extract(backbone, images)
    assert patches.shape == (2, 3, 4, 64)
    assert patches.dtype == jnp.float32
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    pixels = jnp.asarray((images - mean) / std)
    (tokens,) = VisionTransformer(backbone.config).apply({"params": backbone.params}, pixels, (2,))
    expected = tokens[:, backbone.config.num_prefix_tokens :].reshape(2, 3, 4, 64)
    np.testing.assert_allclose(patches, expected, atol=1e-5)


def test_patch_follows_its_place_in_the_image(backbone):
    """Layer 0 (the embeddings) of a patch depends on nothing but its own pixels."""
    image = np.zeros((1, 42, 56, 3), np.float32)
    changed = image.copy()
    changed[:, 14:28, 42:56] = 1  # row 1, column 3
    extractor = PatchExtractor(0, normalize=False)
    before, after = extractor.extract(backbone, image), extractor.extract(backbone, changed)
    difference = np.abs(np.asarray(after - before)[0]).max(axis=-1)
    assert np.argwhere(difference > 1e-5).tolist() == [[1, 3]]


def test_features_have_unit_norm_unless_told_otherwise(backbone, images):
    unit = PatchExtractor(layers=3).extract(backbone, images)
    np.testing.assert_allclose(jnp.linalg.norm(unit, axis=-1), 1, atol=1e-5)
    raw = PatchExtractor(3, normalize=False).extract(backbone, images)
    expected = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
    np.testing.assert_allclose(unit, expected, atol=1e-5)


def test_several_layers_are_concatenated_in_the_order_given(backbone, images):
    both = PatchExtractor((3, 1))
    joined = both.extract(backbone, images)
    parts = [PatchExtractor(layer).extract(backbone, images) for layer in (3, 1)]
    assert joined.shape[-1] == both.num_features(backbone.config) == 128
    np.testing.assert_allclose(joined, np.concatenate(parts, axis=-1), atol=1e-5)


def test_the_mean_of_layers_has_the_size_of_one_in_any_order(backbone, images):
    mean = PatchExtractor((3, 1), join="mean")
    joined = mean.extract(backbone, images)
    parts = [PatchExtractor(layer).extract(backbone, images) for layer in (3, 1)]
    assert joined.shape[-1] == mean.num_features(backbone.config) == 64
    np.testing.assert_allclose(joined, sum(parts) / 2, atol=1e-6)
    other = PatchExtractor((1, 3), join="mean").extract(backbone, images)
    np.testing.assert_allclose(joined, other, atol=1e-6)
    with pytest.raises(ValueError, match="join must be one of concatenate, mean, got 'sum'"):
        PatchExtractor(3, join="sum")


def test_bytes_and_fractions_give_the_same(backbone, images):
    quantised = np.round(images * 255).astype(np.uint8)
    extractor = PatchExtractor(3)
    from_bytes = extractor.extract(backbone, quantised)
    for fractions in (
        quantised / 255,
        (quantised / 255).astype(np.float32),
        jnp.asarray(quantised / 255),
    ):
        np.testing.assert_allclose(extractor.extract(backbone, fractions), from_bytes, atol=1e-4)


def test_normalised_image_by_hand():
    white = np.full((1, 1, 1, 3), 255, np.uint8)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(normalize_images(white)[0, 0, 0], expected, rtol=1e-6)


def test_configuration_is_hashable_and_compiles_once(backbone, images):
    assert PatchExtractor(3) == PatchExtractor((3,)) == PatchExtractor([np.int64(3)])
    assert hash(PatchExtractor(3)) == hash(PatchExtractor((3,)))
    PatchExtractor(3).extract(backbone, images)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(VisionTransformer, "apply", lambda *args: pytest.fail("traced again"))
        PatchExtractor((3,)).extract(backbone, images)


@pytest.mark.parametrize("layers", [(), -1, (2, -1), 1.5, "8", None])
def test_refused_layers(layers):
    with pytest.raises(
        ValueError, match="layers must be one or several layer numbers from 0 on, got"
    ):
        PatchExtractor(layers)


def test_layer_beyond_the_backbone(backbone, images):
    with pytest.raises(
        ValueError, match=r"layers must be at most 3 for '\w+', got \(1, 4\); choose"
    ):
        PatchExtractor((1, 4)).extract(backbone, images)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (42, 56, 3),
            r"must have shape \(batch, height, width, 3\), got \(42, 56, 3\); add a batch axis",
        ),
        ((1, 42, 56), r"got \(1, 42, 56\)"),
        ((1, 42, 56, 4), "convert grey or RGBA images to RGB"),
        ((1, 42, 56, 1), "convert grey or RGBA images to RGB"),
        ((0, 42, 56, 3), r"got \(0, 42, 56, 3\)"),
        (
            (1, 43, 60, 3),
            "multiples of the patch size 14, got 43 x 60; crop them, for example to 42 x 56",
        ),
    ],
)
def test_refused_shapes(backbone, shape, message):
    with pytest.raises(ValueError, match=message):
        PatchExtractor(1).extract(backbone, np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.full((1, 14, 14, 3), 255.0),
            r"must lie in \[0, 1\], got values from 255 to 255; divide",
        ),
        (np.full((1, 14, 14, 3), -2.1), r"must lie in \[0, 1\], got values from -2.1"),
        (np.full((1, 14, 14, 3), np.nan), r"must lie in \[0, 1\], got values from nan"),
        (
            np.zeros((1, 14, 14, 3), np.uint16),
            "uint8 or floating point in .*, got uint16; convert 16-bit",
        ),
        (np.zeros((1, 14, 14, 3)).tolist(), "uint8 or floating point in .*, got None"),
    ],
)
def test_refused_values(backbone, images, message):
    with pytest.raises(ValueError, match=message):
        PatchExtractor(1).extract(backbone, images)
