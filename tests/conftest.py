"""Strictness for every test: float64, no silent promotion, warnings are errors, checked shapes."""

import importlib.metadata
import os
from pathlib import Path

# Compiling takes most of the time here; workers and the processes that tests start share what they compile.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# jaxlib 0.10 compiles a third faster without its fusion emitters; 0.12 no longer knows the flag.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Shapes in signatures are checked at run time in the tests only.
_hook = install_import_hook("jaxdpmm", "strict_types.check")


@pytest.fixture(scope="module", autouse=True)
def _compiling(request):
    """Files that compile much and compute little are compiled without optimising, in half the time; none is kept.

    Compiled programs hold memory maps; one process that keeps those of every test runs out of them and crashes.
    """
    is_quick = request.node.get_closest_marker("compiles_much") is not None
    jax.config.update("jax_disable_most_optimizations", is_quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture
def key():
    """The one random key of a test, fixed so that a failure can be seen again."""
    return jax.random.key(0)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A tiny DINOv2 with random weights."""
    from synthetic import write_backbone

    from jaxdpmm.features import load_backbone

    return load_backbone(write_backbone(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set in MVTec AD layout, with masks."""
    from synthetic import write_mvtec

    from jaxdpmm.images.layouts import read_mvtec

    return read_mvtec(write_mvtec(tmp_path_factory.mktemp("data") / "surfaces"))
