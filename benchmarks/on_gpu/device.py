"""What the device can do: its memory, the emptiest call, products in three types, a copy, transfers; and its roofline.

Every other figure is held against these (`../floors.py`). Read `scoring.py` next.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from on_gpu.cases import Case, Fact, entry_of
from on_gpu.plan import Sizes
from on_gpu.precision import as_compiled

TRANSFER = (64, 448, 448, 3)  # bytes of a batch of images


def cases(sizes: Sizes) -> Iterator[Fact]:
    """Memory, the launch floor, three rates of products, the copy rate, and transfers each way."""
    yield Fact({"what": "memory"}, _memory)
    yield _rate("launch", "an empty kernel", _launch, lambda seconds: seconds)
    side = sizes.product_side
    for kind in ("float32", "tf32", "bfloat16"):
        what = f"product of {side} x {side} matrices, {kind}"
        yield _rate(kind, what, partial(_product, side, kind), lambda s: 2 * side**3 / s)
    size = sizes.copy_bytes
    what = f"copy of {size / 1e9:.2f} GB, read and written"
    yield _rate("copy", what, partial(_copy, size), lambda s: 2 * size / s)
    images = np.random.default_rng(0).integers(256, size=TRANSFER, dtype=np.uint8)
    what = f"{TRANSFER[0]} images of 448 x 448 as bytes, host to device"
    yield _rate("upload", what, lambda: lambda: jax.device_put(images), lambda s: images.nbytes / s)
    what = f"scores of {TRANSFER[0]} images of 1,024 patches, device to host"
    yield _rate("download", what, _download, lambda s: TRANSFER[0] * 1024 * 4 / s)


def roofline(sizes: Sizes) -> Iterator[Fact]:
    """The kernels of `roofline.py`, with what XLA counts in them."""
    from inference import as_type, patches
    from roofline import analyse, kernels

    for name, scorer, params in itertools.islice(kernels(), sizes.kernels):
        typed, x = as_type((params, patches(1)), jnp.float32)
        yield Fact({"what": f"roofline, {name}"}, partial(analyse, scorer, typed, x, True))


def _rate(
    name: str, what: str, build: Callable[[], Any], rate_of: Callable[[float], float]
) -> Fact:
    """A timed case whose entry also holds `rate`, from the time of a call in a queue (of one call for the launch)."""

    def find() -> dict[str, Any]:
        found = entry_of(Case({}, build))
        if "error" in found:
            return found
        seconds = found["seconds"] if name == "launch" else found["queued_seconds"]
        return found | {"rate_of": name, "rate": rate_of(seconds)}

    return Fact({"what": what}, find)


def _memory() -> dict[str, Any]:
    stats = jax.devices()[0].memory_stats() or {}
    return {"platform": jax.default_backend(), "bytes_limit": stats.get("bytes_limit")}


def _launch() -> Callable[[], Any]:
    number = jnp.zeros(())
    return as_compiled(lambda x: x + 1, number)


def _product(side: int, kind: str) -> Callable[[], Any]:
    dtype = jnp.bfloat16 if kind == "bfloat16" else jnp.float32
    left, right = (jax.random.normal(jax.random.key(n), (side, side), dtype) for n in (0, 1))
    return as_compiled(jnp.matmul, left, right, precision=kind)


def _copy(size: int) -> Callable[[], Any]:
    numbers = jnp.arange(size // 4, dtype=jnp.float32)
    return as_compiled(lambda x: -x, numbers)


def _download() -> Callable[[], Any]:
    fresh = as_compiled(lambda x: x + 1, jnp.zeros((TRANSFER[0], 1024)))
    return lambda: np.asarray(fresh())
