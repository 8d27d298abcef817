"""Reading a DINOv2 configuration: what is taken, what is refused."""

import pytest
from dinov2_random import VARIANTS

from jaxdpmm.features import Dinov2Config

PLAIN = VARIANTS["plain"]


def test_entries_are_taken_over_and_others_ignored():
    config = Dinov2Config.from_dict(PLAIN | {"hidden_dropout_prob": 0.1, "dtype": "float16"})
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 4)
    assert config.compute_dtype == "float32"
    assert config.num_prefix_tokens == 1
    assert not config.antialias
    assert hash(config) == hash(Dinov2Config.from_dict(PLAIN))


def test_register_variant_has_four_registers_unless_said():
    values = {
        key: value for key, value in VARIANTS["registers"].items() if key != "num_register_tokens"
    }
    config = Dinov2Config.from_dict(values)
    assert config.num_prefix_tokens == 5
    assert config.antialias


def test_sizes_may_be_square_pairs():
    config = Dinov2Config.from_dict(PLAIN | {"image_size": [518, 518], "patch_size": [14, 14]})
    assert (config.image_size, config.patch_size) == (518, 14)


@pytest.mark.parametrize(
    ("hidden", "ratio", "swiglu", "expected"),
    [(384, 4, False, 1536), (1536, 4, True, 4096), (64, 4, True, 176)],
)
def test_hidden_width_of_the_mlp(hidden, ratio, swiglu, expected):
    values = PLAIN | {"hidden_size": hidden, "mlp_ratio": ratio, "use_swiglu_ffn": swiglu}
    assert Dinov2Config.from_dict(values).mlp_size == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, r"model_type must be 'dinov2' or .* got 'vit'; give the config"),
        ({"model_type": None}, "model_type must be 'dinov2'"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'; use one of the published"),
        ({"num_channels": 1}, "num_channels must be 3, got 1"),
        ({"image_size": [518, 224]}, r"image_size must be square, got \[518, 224\]"),
        ({"hidden_size": 0}, "hidden_size must be an integer from 1 to 16384, got 0; correct"),
        ({"patch_size": "14"}, "patch_size must be an integer from 1 to 256, got '14'"),
        (
            {"num_attention_heads": 5},
            "hidden_size must be a multiple of num_attention_heads=5, got 64",
        ),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Dinov2Config.from_dict(PLAIN | change)


def test_missing_entries_are_all_named():
    values = {
        key: value for key, value in PLAIN.items() if key not in ("hidden_size", "image_size")
    }
    with pytest.raises(ValueError, match="without hidden_size, image_size; download it again"):
        Dinov2Config.from_dict(values)


def test_other_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'float16'"):
        Dinov2Config.from_dict(PLAIN, compute_dtype="float16")
