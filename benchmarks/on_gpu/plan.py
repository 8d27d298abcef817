"""What is measured, in the order of importance, with a time budget each, and how large it is.

A record is a generator of cases (`cases.py`), named by its module and function, so that the driver needs no JAX and a
module that cannot be imported fails its own records only. Read `driver.py` next.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One line of the plan.

    Attributes:
        name: what `--only` takes.
        cases: "module:function" of a function that takes `Sizes` and yields cases.
        seconds: after so long no further case begins, and some seconds later the worker is ended.
    """

    name: str
    cases: str
    seconds: float


PLAN = (
    Record("device", "on_gpu.device:cases", 30),
    Record("scoring-mixture", "on_gpu.scoring:mixtures", 50),
    Record("scoring-bank", "on_gpu.scoring:banks", 55),
    Record("scoring-torch", "on_gpu.torch_scoring:eager", 30),
    Record("agreement", "on_gpu.agreement:cases", 45),
    Record("fit", "on_gpu.fits:cases", 55),
    Record("backbone", "on_gpu.backbones:ours", 45),
    Record("gibbs", "on_gpu.chains:cases", 30),
    Record("fit-torch", "on_gpu.torch_fits:cases", 15),
    Record("backbone-torch", "on_gpu.backbones:torch_eager", 20),
    Record("scoring-torch-compiled", "on_gpu.torch_scoring:compiled", 30),
    Record("backbone-torch-compiled", "on_gpu.backbones:torch_compiled", 40),
    Record("fit-gmmx", "on_gpu.fits:gmmx", 15),
    Record("roofline", "on_gpu.device:roofline", 30),
)


@dataclass(frozen=True)
class Sizes:
    """How large everything is; the values here are those of a data-centre GPU.

    Attributes:
        product_side: of the square matrices whose product gives the rates.
        copy_bytes: of the array whose copy gives the bandwidth.
        images: images of 1,024 patches scored at once.
        scored: (score, covariance, number of components).
        bank_rows: of the exact banks; 7.68 million are the training patches of BMAD's BraTS, 76,000 one in a hundred.
        work_limit: images times rows above which a bank is scored in the faster types only.
        sweeps: (family, N, D, K) of one sweep each.
        k_means: (N, D, K).
        gmmx: (N, D, K).
        gibbs: (covariance, N, D, K).
        backbones: (name, width, blocks, heads, images at once).
        agreement: (N, D, K).
        precisions: of the products that agreement and a diagonal sweep are looked at with.
        kernels: how many of those of `roofline.py`.
    """

    product_side: int = 8192
    copy_bytes: int = 2**32
    images: tuple[int, ...] = (1, 8, 64)
    scored: tuple[tuple[str, str, int], ...] = (
        ("cosine", "diagonal", 500),
        ("predictive", "diagonal", 500),
        ("predictive", "full", 100),
        ("nearest_predictive", "full", 100),
        ("predictive", "spherical", 3000),
        ("nearest_predictive", "spherical", 3000),
        ("nearest_predictive", "diagonal", 500),
    )
    bank_rows: tuple[int, ...] = (10**4, 76_000, 10**5, 10**6, 7_680_000, 10**7)
    work_limit: float = 1e8
    sweeps: tuple[tuple[str, int, int, int], ...] = (
        ("diagonal", 10**6, 384, 500),
        ("spherical", 10**6, 128, 1024),
        ("full, candidates", 100_000, 384, 200),
        ("low rank", 100_000, 384, 100),
        ("spherical", 10**6, 384, 3000),
    )
    k_means: tuple[int, int, int] = (25_000, 384, 500)
    gmmx: tuple[int, int, int] = (20_000, 384, 100)
    gibbs: tuple[tuple[str, int, int, int], ...] = (
        ("full", 1000, 512, 50),
        ("diagonal", 100_000, 384, 100),
    )
    backbones: tuple[tuple[str, int, int, int, tuple[int, ...]], ...] = (
        ("ViT-S/14", 384, 12, 6, (1, 8, 64)),
        ("ViT-B/14", 768, 12, 12, (1, 8, 64)),
        ("ViT-L/14", 1024, 24, 16, (1, 8, 64)),
    )
    agreement: tuple[int, int, int] = (4096, 384, 16)
    precisions: tuple[str, ...] = ("library", "tf32", "tf32x3")
    kernels: int = 100


QUICK = Sizes(
    product_side=1024,
    copy_bytes=2**26,
    images=(1, 2),
    scored=(
        ("cosine", "diagonal", 500),
        ("predictive", "diagonal", 500),
        ("predictive", "full", 20),
        ("nearest_predictive", "full", 20),
        ("predictive", "spherical", 200),
    ),
    bank_rows=(10**4, 40_000),
    work_limit=4e4,
    sweeps=(
        ("diagonal", 16_384, 384, 100),
        ("spherical", 16_384, 128, 256),
        ("full, candidates", 4096, 384, 16),
        ("low rank", 4096, 384, 16),
    ),
    k_means=(5000, 384, 100),
    gmmx=(2000, 64, 10),
    gibbs=(("full", 1000, 128, 10), ("diagonal", 10_000, 384, 50)),
    backbones=(("ViT-S/14", 384, 12, 6, (1,)),),
    agreement=(1024, 64, 8),
    precisions=("library",),
    kernels=2,
)
"""What two processor cores do in five minutes."""
