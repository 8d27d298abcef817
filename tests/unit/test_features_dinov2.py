"""The network itself: shapes, compute types, and lowering for platforms that are not here."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from dinov2_random import VARIANTS, random_pixels, random_tensors

from jaxdpmm.features import Dinov2Config, VisionTransformer
from jaxdpmm.features.attention import dot_product_attention
from jaxdpmm.features.conversion import convert_tensors


def build(variant, compute_dtype="float32"):
    values = VARIANTS[variant]
    config = Dinov2Config.from_dict(values, compute_dtype=compute_dtype)
    return config, convert_tensors(config, random_tensors(values))


def run(config, params, pixels, layers=None):
    return VisionTransformer(config).apply({"params": params}, jnp.asarray(pixels), layers)


@pytest.mark.parametrize(("variant", "prefix"), [("plain", 1), ("registers", 5)])
def test_token_count_and_cropping(variant, prefix):
    config, params = build(variant)
    pixels = random_pixels(42, 56, batch=2)
    (tokens,) = run(config, params, pixels)
    assert tokens.shape == (2, prefix + 3 * 4, 64)
    padded = np.pad(pixels, ((0, 0), (0, 13), (0, 5), (0, 0)), constant_values=7.0)
    np.testing.assert_array_equal(run(config, params, padded)[0], tokens)


def test_images_of_a_batch_do_not_see_each_other():
    config, params = build("registers-swiglu")
    pixels = random_pixels(42, 56, batch=3)
    (together,) = run(config, params, pixels)
    alone = [run(config, params, pixels[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_lower_layers_do_not_need_the_upper_ones():
    config, params = build("plain")
    pixels = random_pixels(28, 28)
    below = {name: value for name, value in params.items() if name != "layer_2"}
    (first,) = run(config, below, pixels, (2,))
    np.testing.assert_array_equal(first, run(config, params, pixels, (3, 2))[1])


def test_attention_equals_its_definition():
    query, key, value = (
        jnp.asarray(np.random.default_rng(i).standard_normal((2, 7, 3, 5)), jnp.float32)
        for i in range(3)
    )
    scores = np.einsum("bqne,bkne->bnqk", query, key) / np.sqrt(5)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.einsum("bnqk,bkne->bqne", weights, value)
    np.testing.assert_allclose(dot_product_attention(query, key, value), expected, atol=1e-6)
    np.testing.assert_allclose(jax.nn.dot_product_attention(query, key, value), expected, atol=1e-6)


@pytest.mark.parametrize("variant", ["plain", "registers-swiglu"])
def test_bfloat16_is_close_and_really_used(variant):
    pixels = random_pixels(112, 154)
    (exact,) = run(*build(variant), pixels)
    config, params = build(variant, "bfloat16")
    (rounded,) = run(config, params, pixels)
    assert rounded.dtype == jnp.float32
    assert params["layer_0"]["attention"]["query"]["kernel"].dtype == jnp.bfloat16
    assert params["layer_0"]["norm1"]["scale"].dtype == jnp.float32
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 2e-2


@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", ["plain", "registers-swiglu"])
def test_lowers_for_every_platform_from_here(variant, compute_dtype):
    config, params = build(variant, compute_dtype)
    pixels = random_pixels(56, 70)
    forward = jax.jit(lambda params, pixels: run(config, params, pixels, (2, 3)))
    for platforms in (["cpu"], ["cuda"], ["tpu"], ["cpu", "cuda", "rocm", "tpu"]):
        exported = jax.export.export(forward, platforms=platforms)(params, pixels)
        assert tuple(exported.platforms) == tuple(platforms)
        assert "callback" not in exported.mlir_module()
    restored = jax.export.deserialize(exported.serialize())
    for ours, direct in zip(restored.call(params, pixels), forward(params, pixels), strict=True):
        np.testing.assert_allclose(ours, direct, atol=1e-5)


def test_attention_keeps_one_head_at_a_time_on_cpu_only():
    tensor = jax.ShapeDtypeStruct((1, 17, 4, 8), jnp.float32)
    lowered = {
        platform: jax.export.export(jax.jit(dot_product_attention), platforms=[platform])(
            *[tensor] * 3
        )
        for platform in ("cpu", "cuda")
    }
    assert "while" in lowered["cpu"].mlir_module()
    assert "while" not in lowered["cuda"].mlir_module()
