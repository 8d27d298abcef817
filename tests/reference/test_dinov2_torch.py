"""The Flax DINOv2 against the PyTorch models of transformers, every parameter random."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dinov2_random import VARIANTS, random_pixels, write_checkpoint

from jaxdpmm.features import VisionTransformer, load_backbone

pytestmark = pytest.mark.optimised

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4
SIZES = [(224, 224), (448, 448), (518, 518), (448, 616), (518, 266)]


def torch_model(folder):
    """The PyTorch model of a folder, which must find all its tensors there but the mask token."""
    values = json.loads((folder / "config.json").read_text())
    registers = values["model_type"] == "dinov2_with_registers"
    cls = transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {"embeddings.mask_token"}
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.eval()


def torch_tokens(model, pixels, layers):
    """Tokens after some layers, each through the final norm."""
    with torch.no_grad():
        nchw = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        states = model(nchw, output_hidden_states=True).hidden_states
        return [model.layernorm(states[layer]).numpy() for layer in layers]


def flax_tokens(backbone, pixels, layers=None):
    run = jax.jit(
        lambda params, x: VisionTransformer(backbone.config).apply({"params": params}, x, layers)
    )
    return [np.asarray(tokens) for tokens in run(backbone.params, pixels)]


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request, tmp_path_factory):
    folder = write_checkpoint(tmp_path_factory.mktemp(request.param), VARIANTS[request.param])
    return load_backbone(folder), torch_model(folder)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_last_layer_equals_torch_at_every_size(pair, height, width):
    backbone, model = pair
    pixels = random_pixels(height, width)
    (ours,), (theirs,) = flax_tokens(backbone, pixels), torch_tokens(model, pixels, [-1])
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


def test_last_layer_of_torch_is_its_last_hidden_state(pair):
    _, model = pair
    pixels = random_pixels(112, 112)
    with torch.no_grad():
        expected = model(
            torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        ).last_hidden_state.numpy()
    np.testing.assert_array_equal(torch_tokens(model, pixels, [-1])[0], expected)


def test_intermediate_layers_in_one_pass_equal_torch(pair):
    backbone, model = pair
    pixels, layers = random_pixels(224, 308, batch=2), (2, 0, 3, 1)
    ours, theirs = flax_tokens(backbone, pixels, layers), torch_tokens(model, pixels, layers)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=TOLERANCE)


def test_model_in_memory_gives_the_parameters_of_its_folder(pair):
    backbone, model = pair
    in_memory = load_backbone(model)
    assert in_memory.config == backbone.config
    assert in_memory.name == type(model).__name__
    jax.tree.map(np.testing.assert_array_equal, in_memory.params, backbone.params)


def test_model_in_memory_may_change_afterwards(pair):
    _, model = pair
    in_memory = load_backbone(model)
    before = jax.tree.map(np.array, in_memory.params)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
        jax.tree.map(np.testing.assert_array_equal, in_memory.params, before)
        for parameter in model.parameters():
            parameter -= 1


@pytest.mark.parametrize("registers", [False, True])
def test_classification_checkpoint_loads_without_its_classifier(tmp_path, registers):
    name = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14
    )
    model = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    transformers.logging.disable_progress_bar()
    model.save_pretrained(tmp_path)
    backbone, pixels = load_backbone(tmp_path), random_pixels(56, 84)
    base = model.dinov2_with_registers if registers else model.dinov2
    (ours,), (theirs,) = flax_tokens(backbone, pixels), torch_tokens(base, pixels, [-1])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    jax.tree.map(np.testing.assert_array_equal, load_backbone(model).params, backbone.params)


def test_half_precision_model_in_memory(tmp_path):
    folder = write_checkpoint(tmp_path, VARIANTS["plain"])
    halved = load_backbone(torch_model(folder).to(torch.bfloat16))
    full = load_backbone(folder)
    leaves = zip(jax.tree.leaves(halved.params), jax.tree.leaves(full.params), strict=True)
    for half, whole in leaves:
        assert half.dtype == jnp.float32
        np.testing.assert_allclose(half, whole, rtol=2**-8)
