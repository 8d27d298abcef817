"""DINOv2 at 448 x 448 with random weights, ours in Flax and that of transformers in torch.

What the weights are does not matter for the time, so nothing is fetched; where torch is there, one entry compares the
outputs of both for the same weights. Read `chains.py` next.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdpmm.features import Dinov2Config, VisionTransformer, load_backbone
from on_gpu import torch_side
from on_gpu.cases import Case, Fact, Work
from on_gpu.plan import Sizes
from on_gpu.precision import as_compiled, kind_of
from on_gpu.scoring import images_in_words, type_of

SIDE, PATCH = 448, 14
TOKENS = (SIDE // PATCH) ** 2 + 1

Shape = tuple[str, int, int, int]
"""Name, width, blocks, heads."""


def ours(sizes: Sizes) -> Iterator[Case]:
    """Flax, in bfloat16 and in float32 as users get it."""
    for images, precision, shape in _runs(sizes, "library"):
        yield _case(shape, images, precision, "jaxdpmm", functools.partial(_flax, shape))


def torch_eager(sizes: Sizes) -> Iterator[Case | Fact]:
    """The agreement of the two sides, then the same sizes in torch with its fused attention (SDPA)."""
    yield Fact({"what": "tokens of both sides, largest difference"}, _compare)
    for images, precision, shape in _runs(sizes, "tf32"):
        run = functools.partial(_torch, shape, compile_it=False)
        yield _case(shape, images, precision, "torch, sdpa, eager", run, torch_side.wait)


def torch_compiled(sizes: Sizes) -> Iterator[Case]:
    """The same, compiled by `torch.compile`; each takes long."""
    for images, precision, shape in _runs(sizes, "tf32"):
        run = functools.partial(_torch, shape, compile_it=True)
        yield _case(shape, images, precision, "torch, sdpa, compiled", run, torch_side.wait)


def _runs(sizes: Sizes, full: str) -> Iterator[tuple[int, str, Shape]]:
    """Images at once, precision and network, the most important first, since each must be compiled.

    The small network in bfloat16, most at once and one; all others in bfloat16, most at once; the small one in the
    precision `full`; then what is left.
    """
    shapes = [((name, *shape), several) for name, *shape, several in sizes.backbones]
    runs = [
        (images, precision, tuple(shape))
        for shape, several in shapes
        for precision in ("bfloat16", full)
        for images in several
    ]

    def rank(run: tuple[int, str, Shape]) -> tuple[bool, ...]:
        images, precision, shape = run
        small, coarse = shape == runs[0][2], precision == "bfloat16"
        most = all(images >= other for other, _, its in runs if its == shape)
        end = most or images == 1
        first, second, third = small and coarse and end, coarse and most, small and end
        return not first, not second, not third, not coarse, not end

    return iter(sorted(runs, key=rank))


def _case(
    shape: Shape, images: int, precision: str, by: str, run: Callable, *wait: Callable
) -> Case:
    name, width, blocks, _ = shape
    per_token = blocks * (24.0 * width**2 + 4.0 * TOKENS * width) + 2.0 * PATCH**2 * 3 * width
    weights = blocks * 12.0 * width**2
    size = jnp.dtype(type_of(precision)).itemsize
    work = Work(images * TOKENS * per_token, size * weights, kind_of(precision))
    labels = {
        "what": name,
        "images": images,
        "by": by,
        "size": f"{images_in_words(images)} of {SIDE} x {SIDE}",
        "precision": precision,
    }
    return Case(labels, lambda: run(images, precision), work, *wait)


def _config(shape: Shape, precision: str) -> Dinov2Config:
    _, width, blocks, heads = shape
    return Dinov2Config(
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        compute_dtype=type_of(precision),
    )


def _flax(shape: Shape, images: int, precision: str) -> Callable[[], Any]:
    config = _config(shape, precision)
    params, pixels = _params(config), _pixels(images)

    def forward(params: Any, pixels: jax.Array) -> jax.Array:
        return VisionTransformer(config).apply({"params": params}, pixels)[0]

    return as_compiled(forward, params, pixels, precision=precision)


@functools.lru_cache(maxsize=1)
def _params(config: Dinov2Config) -> Any:
    """Random parameters, laid out as `load_backbone` does: kernels in the type of the products."""
    image = jnp.zeros((1, PATCH, PATCH, 3))
    params = jax.jit(VisionTransformer(config).init)(jax.random.key(0), image)["params"]

    def typed(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf.astype(config.compute_dtype) if path[-1].key == "kernel" else leaf

    return jax.tree_util.tree_map_with_path(typed, params)


@functools.lru_cache(maxsize=1)
def _pixels(images: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (images, SIDE, SIDE, 3))


def _torch(shape: Shape, images: int, precision: str, compile_it: bool) -> Callable[[], Any]:
    import torch

    torch_side.set_precision(precision)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model = _torch_model(shape).to(torch_side.device(), dtype)
    pixels = torch_side.shared(_pixels(images)).permute(0, 3, 1, 2).contiguous().to(dtype)
    forward = torch_side.compiled(model) if compile_it else model

    def run():
        with torch.inference_mode():
            return forward(pixels).last_hidden_state

    return run


def _torch_model(shape: Shape) -> Any:
    """The network of transformers with random weights."""
    import transformers

    _, width, blocks, heads = shape
    sizes = {"hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": heads}
    config = transformers.Dinov2Config(
        **sizes, image_size=518, patch_size=PATCH, attn_implementation="sdpa"
    )
    return transformers.Dinov2Model(config).eval()


def _compare() -> dict[str, Any]:
    """The same small network and pixels through both sides, in float32."""
    import torch

    torch_side.set_precision("float32")
    torch.manual_seed(0)
    model = _torch_model(("small", 384, 4, 6))
    backbone = load_backbone(model)
    pixels = _pixels(1)
    with torch.inference_mode(), jax.default_matmul_precision("highest"):
        model = model.to(torch_side.device())
        theirs = model(torch_side.shared(pixels).permute(0, 3, 1, 2)).last_hidden_state
        forward = jax.jit(VisionTransformer(backbone.config).apply)
        tokens = np.asarray(forward({"params": backbone.params}, pixels)[0])
    return {"max_abs_difference": float(np.max(np.abs(tokens - theirs.cpu().numpy())))}
