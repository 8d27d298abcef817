"""DINOv3: its configuration, its normalisation, and what is particular to rotary positions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dinov2_random import DINOV3_VARIANTS, VARIANTS, random_pixels, random_tensors, write_checkpoint

from jaxdpmm.features import Dinov3Config, PatchExtractor, VisionTransformer, load_backbone
from jaxdpmm.features.attention import rotary_positions, rotate
from jaxdpmm.features.config import backbone_config
from jaxdpmm.features.conversion import convert_tensors
from jaxdpmm.features.digest import backbone_digest
from jaxdpmm.features.extractor import normalize_images

SMALL = DINOV3_VARIANTS["small"]
SATELLITE = {"image_mean": [0.43, 0.411, 0.296], "image_std": [0.213, 0.156, 0.143]}


def test_entries_are_taken_over_and_others_ignored():
    config = backbone_config(SMALL | {"pos_embed_rescale": 2.0, "patch_size": [16, 16]})
    assert isinstance(config, Dinov3Config)
    assert (config.patch_size, config.mlp_size, config.num_prefix_tokens) == (16, 64, 5)
    assert config.biased == {"query", "value", "output", "mlp"}  # the keys' bias was masked
    assert hash(config) == hash(backbone_config(SMALL))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "dinov3_convnext"},
            "model_type must be one of 'dinov2', 'dinov2_with_registers', 'dinov3_vit', got 'dinov3_convnext'; give",
        ),
        (
            {"model_type": ["dinov3_vit"]},
            r"got \['dinov3_vit'\]; give the config.json of a DINOv2 or",
        ),
        (
            {"hidden_act": "relu"},
            "hidden_act must be 'gelu' or 'silu', got 'relu'; use one of the published DINOv3",
        ),
        ({"num_channels": 1}, "num_channels must be 3, got 1"),
        ({"hidden_size": 24}, r"must be a multiple of 4 \* num_attention_heads=4, got 24; correct"),
        ({"intermediate_size": 10**9}, "intermediate_size must be an integer from 1 to 65536"),
        ({"patch_size": [16, 14]}, r"patch_size must be square, got \[16, 14\]"),
        ({"rope_theta": "100"}, "rope_theta must be a number from 1 to 1e"),
        ({"key_bias": 0}, "key_bias must be true or false, got 0"),
        ({"image_mean": [0.5]}, r"image_mean must be three numbers, .* got \[0.5\]"),
        ({"image_std": [0.5, 0.5, 0]}, "each number of image_std must be a number from 0.001 to 1"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        backbone_config(SMALL | change)


def test_other_networks_and_missing_entries_are_refused():
    with pytest.raises(ValueError, match="model_type must be 'dinov3_vit', got 'vit'; give"):
        Dinov3Config.from_dict(SMALL | {"model_type": "vit"})
    values = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
    with pytest.raises(ValueError, match="got one without intermediate_size; download it again"):
        Dinov3Config.from_dict(values)
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'float16'"):
        Dinov3Config.from_dict(SMALL, compute_dtype="float16")


def test_wrong_tensors_are_listed_under_their_published_names(tmp_path):
    values = DINOV3_VARIANTS["gated"]
    tensors = random_tensors(values)
    del tensors["layer.1.mlp.up_proj.weight"], tensors["norm.bias"]
    with pytest.raises(ValueError, match="3 that differ") as caught:
        load_backbone(write_checkpoint(tmp_path, values, tensors))
    assert "missing layer.1.mlp.gate_up_proj.weight (160, 48)" in str(caught.value)
    assert "unknown layer.1.mlp.gate_proj.weight (80, 48)" in str(caught.value)
    assert "missing norm.bias (48,)" in str(caught.value)


@pytest.mark.parametrize("values", [SMALL, VARIANTS["registers"]], ids=["dinov3", "dinov2"])
def test_normalisation_is_that_of_the_checkpoint(tmp_path, values):
    """Networks for satellite images have other colours than those for photographs."""
    folder = write_checkpoint(tmp_path, values)
    side = values["patch_size"]
    images = np.random.default_rng(0).random((1, 2 * side, 3 * side, 3), np.float32)
    extractor = PatchExtractor(0, normalize=False)
    photographs = load_backbone(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 224} | SATELLITE))
    satellite = load_backbone(folder)
    pixels = normalize_images(images, *(tuple(SATELLITE[name]) for name in SATELLITE))
    (tokens,) = VisionTransformer(satellite.config).apply(
        {"params": satellite.params}, pixels, (0,)
    )
    patches = extractor.extract(satellite, images)
    np.testing.assert_allclose(patches.reshape(6, -1), tokens[0, 5:], atol=1e-5)
    assert np.abs(patches - extractor.extract(photographs, images)).max() > 0.1
    assert backbone_digest(satellite) != backbone_digest(photographs)


def test_rotation_is_by_angles_of_the_centres():
    """A pair of coordinates as a complex number is turned by 2 pi times the coordinate over the period."""
    cos, sin = rotary_positions((2, 4), 8, 100.0, num_prefix_tokens=3)
    assert cos.shape == sin.shape == (3 + 8, 4)
    turns = [
        -0.5,
        -0.5 / 10,
        -0.75,
        -0.75 / 10,
    ]  # first patch: y = -1/2, x = -3/4; periods 1 and 10
    angles = 2 * np.pi * np.array(turns)
    np.testing.assert_allclose(cos[3] + 1j * sin[3], np.exp(1j * angles), atol=1e-6)
    np.testing.assert_array_equal(cos[:3] + 1j * sin[:3], np.ones((3, 4)))
    tensor = np.random.default_rng(0).standard_normal((1, 11, 2, 8)).astype(np.float32)
    turned = np.asarray(rotate(jnp.asarray(tensor), rotary_positions((2, 4), 8, 100.0, 3)))
    expected = (tensor[..., :4] + 1j * tensor[..., 4:]) * (cos + 1j * sin)[None, :, None]
    np.testing.assert_allclose(turned[..., :4] + 1j * turned[..., 4:], expected, atol=1e-6)


@pytest.mark.parametrize("variant", ["small", "gated"])
def test_bfloat16_is_close_and_really_used(variant):
    values, pixels = DINOV3_VARIANTS[variant], random_pixels(64, 96)
    tokens = []
    for dtype in ("float32", "bfloat16"):
        config = backbone_config(values, compute_dtype=dtype)
        params = convert_tensors(config, random_tensors(values))
        (last,) = jax.jit(VisionTransformer(config).apply)({"params": params}, jnp.asarray(pixels))
        tokens.append(last)
    assert tokens[1].dtype == jnp.float32
    assert params["layer_0"]["attention"]["query"]["kernel"].dtype == jnp.bfloat16
    error = np.linalg.norm(tokens[1] - tokens[0]) / np.linalg.norm(tokens[0])
    assert 1e-4 < error < 2e-2


def test_lowers_for_every_platform_from_here():
    config = backbone_config(DINOV3_VARIANTS["gated"], compute_dtype="bfloat16")
    params = convert_tensors(config, random_tensors(DINOV3_VARIANTS["gated"]))
    forward = jax.jit(VisionTransformer(config).apply)
    for platform in ("cpu", "cuda", "tpu"):
        exported = jax.export.export(forward, platforms=[platform])
        assert exported({"params": params}, random_pixels(48, 32)).platforms == (platform,)
