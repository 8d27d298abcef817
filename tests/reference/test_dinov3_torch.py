"""The Flax DINOv3 against the PyTorch model of transformers, every parameter random."""

import jax
import numpy as np
import pytest
from dinov2_random import DINOV3_VARIANTS, random_pixels, write_checkpoint

from jaxdpmm.features import VisionTransformer, load_backbone

pytestmark = pytest.mark.optimised

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4
SIZES = [(96, 160), (128, 48)]


def torch_model(folder):
    """The PyTorch model of a folder, which must find all its tensors there but the mask token and absent registers."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model, info = transformers.DINOv3ViTModel.from_pretrained(folder, output_loading_info=True)
    registers = {"embeddings.register_tokens"} if model.config.num_register_tokens == 0 else set()
    assert set(info["missing_keys"]) == {"embeddings.mask_token"} | registers
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.eval()


def torch_tokens(model, pixels, layers):
    """Tokens after some layers, each through the final norm."""
    with torch.no_grad():
        nchw = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        answer = model(nchw, output_hidden_states=True)
        tokens = [model.norm(answer.hidden_states[layer]).numpy() for layer in layers]
    last = answer.last_hidden_state.numpy()
    return [
        last if layer == len(model.model.layer) else x
        for layer, x in zip(layers, tokens, strict=True)
    ]


def flax_tokens(backbone, pixels, layers):
    network = VisionTransformer(backbone.config)
    run = jax.jit(lambda params, x: network.apply({"params": params}, x, layers))
    return [np.asarray(tokens) for tokens in run(backbone.params, pixels)]


@pytest.fixture(scope="module", params=DINOV3_VARIANTS)
def pair(request, tmp_path_factory):
    values = DINOV3_VARIANTS[request.param]
    folder = write_checkpoint(tmp_path_factory.mktemp(request.param), values)
    return load_backbone(folder), torch_model(folder)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_all_layers_equal_torch_at_sizes_that_are_not_square(pair, height, width):
    backbone, model = pair
    pixels = random_pixels(height, width, batch=2)
    layers = tuple(range(backbone.config.num_hidden_layers + 1))
    ours, theirs = flax_tokens(backbone, pixels, layers), torch_tokens(model, pixels, layers)
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == np.float32
        assert np.std(their) > 0.5  # a real answer
        np.testing.assert_allclose(our, their, rtol=0, atol=TOLERANCE)


def test_no_parameter_is_at_a_default(pair):
    """Else a parameter that the port forgets, or a bias that it takes for another, would not be seen."""
    _, model = pair
    for name, parameter in model.named_parameters():
        if parameter.numel() and name != "embeddings.mask_token":
            assert parameter.std() > 1e-3, name


def test_model_in_memory_gives_the_parameters_of_its_folder(pair):
    backbone, model = pair
    in_memory = load_backbone(model)
    assert in_memory.config == backbone.config
    assert in_memory.name == "DINOv3ViTModel"
    jax.tree.map(np.testing.assert_array_equal, in_memory.params, backbone.params)


def test_folder_that_transformers_wrote_gives_the_same(pair, tmp_path):
    backbone, model = pair
    model.save_pretrained(tmp_path)
    again = load_backbone(tmp_path)
    assert again.config == backbone.config
    jax.tree.map(np.testing.assert_array_equal, again.params, backbone.params)
