"""Strictness for every test: float64, no silent promotion, warnings are errors, checked shapes."""

import gc
import importlib.metadata
import os
from pathlib import Path

# Compiling takes most of the time here; workers and the processes that tests start share what they compile.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# jaxlib 0.10 compiles a third faster without its fusion emitters, which 0.12 no longer knows, and in one piece.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_disable_most_optimizations", True)  # what collecting compiles too

# Shapes in signatures are checked at run time in the tests only.
_hook = install_import_hook("jaxdpmm", "strict_types.check")


# What a process holds of memory maps: four a compiled program, and Linux allows 65,530.
MAPS = Path("/proc/self/maps")
MOST_MAPS = 10_000


def pytest_collection_finish():
    """What was imported stays; the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    """Compile without optimising, in half the time, but where a test is about what users run or computes long."""
    is_quick = not any(map(item.get_closest_marker, ["optimised", "slow"]))
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(is_quick)  # for processes that a test starts
    if jax.config.read("jax_disable_most_optimizations") != is_quick:
        jax.config.update("jax_disable_most_optimizations", is_quick)
        jax.clear_caches()  # programs are found there whatever this setting was


@pytest.fixture(scope="module", autouse=True)
def _changed_constants():
    """Files share what they compile, until a process nears the end of its memory maps, where it would crash."""
    changed: set[str] = set()
    yield changed
    if changed or not MAPS.exists() or len(MAPS.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def monkeypatch(monkeypatch, _changed_constants):
    """A file that changes a constant shares no programs, since a compiled program would not see the change."""
    setattr_ = monkeypatch.setattr

    def changing(target, name, *value, **options):
        constant = str(target if isinstance(target, str) else name).rpartition(".")[2]
        if constant.isupper() and constant not in _changed_constants:
            jax.clear_caches()
            _changed_constants.add(constant)
        setattr_(target, name, *value, **options)

    monkeypatch.setattr = changing
    return monkeypatch


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
