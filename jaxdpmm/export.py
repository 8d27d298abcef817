"""A fitted scorer as one file that runs without this library: with JAX alone on CPU, CUDA and TPU, or as ONNX.

The file is a zip archive of `about.json` and `scorer.bin`, a serialised `jax.export.Exported` from features (N, D),
float32, N of any size, to anomaly scores (N,). Parameters are constants in it. To run it where JAX is and this library
is not:

    import zipfile
    from jax import export

    scorer = export.deserialize(bytearray(zipfile.ZipFile("scorer.jaxdpmm").read("scorer.bin")))
    scores = scorer.call(features)

JAX reads such files for at least six months after their version. `load_scorer` does the same with checks, and
a tile at a time. Not here: the backbone, whose features these are, and maps (`detection/maps.py`).
"""

import importlib.util
import io
import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from jaxdpmm.detection.reduction import AXES, reduced
from jaxdpmm.families.kernels import one_version
from jaxdpmm.model import Mixture
from jaxdpmm.outputs import ONNX_GRAPH, ONNX_SCORER, check_replaceable
from jaxdpmm.outputs import SCORER as SCORER_FILE
from jaxdpmm.persist import Model, write_whole
from jaxdpmm.scoring import SCORERS, Scorer, in_tiles, nearest_predictive

PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN_PLATFORMS = (*PLATFORMS, "rocm")
FORMAT_VERSION = 1
ABOUT, SCORER = "about.json", "scorer.bin"
ONNX_SCORERS: dict[str, Callable[[Mixture], Scorer]] = {
    **SCORERS,
    "nearest_predictive": partial(nearest_predictive, grouped=False),
}
_OLDEST = (1980, 1, 1, 0, 0, 0)  # one date in every file, so that equal scorers give equal bytes


def export_scorer(
    model: Model,
    path: str | os.PathLike,
    *,
    score: str | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Write a scorer that JAX runs, for several platforms in one file.

    Args:
        model: of `load_model`, of a detector or not.
        path: the file; an earlier scorer is replaced in one step.
        score: name in `jaxdpmm.scoring.SCORERS`; None for the detector's, "predictive" for a mixture alone.
        platforms: of "cpu", "cuda", "tpu" and "rocm"; none of them needs to be here.

    Raises:
        ValueError: an unknown score or platform, or points that are no vectors.
        TypeError: the family does not have that score.
        FileNotFoundError: the folder does not exist.
        FileExistsError: what lies there is no such scorer, but the model itself, for example.
        ImportError: flatbuffers, which JAX writes such files with, is not installed.
    """
    check_replaceable(path, SCORER_FILE)
    _check_flatbuffers()
    if not platforms or set(platforms) - set(KNOWN_PLATFORMS):
        raise ValueError(
            f"platforms must be some of {', '.join(KNOWN_PLATFORMS)}, got {', '.join(platforms) or 'none'}; "
            "leave it out for cpu, cuda and tpu."
        )
    name, function, dim = _scorer_of(model, score)
    (num_points,) = export.symbolic_shape("N")
    points = jax.ShapeDtypeStruct((num_points, dim), jnp.float32)
    with _without_source_locations():
        exported = export.export(jax.jit(function), platforms=tuple(platforms))(points)
    about = _about(model, name, dim, platforms)
    write_whole(path, _zipped({ABOUT: about, SCORER: bytes(exported.serialize())}))


def load_scorer(path: str | os.PathLike) -> Callable[[ArrayLike], Float[np.ndarray, " N"]]:
    """A function from features (N, D) to scores (N,), from a file that `export_scorer` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short, altered, something else, or for other platforms than this process runs on. The
            function raises it for features of another shape.
        ImportError: flatbuffers, which JAX reads such files with, is not installed.
    """
    _check_flatbuffers()
    about, content = _read(Path(path))
    _check_platform(path, about["platforms"])
    compiled = jax.jit(export.deserialize(bytearray(content)).call)
    dim = about["shape"][1]

    def score(features: ArrayLike) -> Float[np.ndarray, " N"]:
        x = np.asarray(features, np.float32)
        if x.ndim != 2 or x.shape[1] != dim:
            raise ValueError(
                f"features must have shape (N, {dim}) to match {path}, got {x.shape}; use the features that the model "
                "was fitted to."
            )
        return in_tiles(lambda _, tile: compiled(tile), (), x)

    return score


def export_onnx(model: Model, path: str | os.PathLike, *, score: str | None = None) -> None:
    """Write a scorer as ONNX: input "features" (N, D), output "scores" (N,), float32, N of any size.

    Args:
        model: of `load_model`.
        path: the file.
        score: as in `export_scorer`.

    Raises:
        ImportError: jax2onnx, the converter, is not installed.
        ValueError, TypeError, FileNotFoundError, FileExistsError: as in `export_scorer`.
    """
    check_replaceable(path, ONNX_SCORER)
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise ImportError(
            "ONNX export needs jax2onnx, which is not installed; install it with: pip install 'jaxdpmm[onnx]'."
        ) from error
    _, function, dim = _scorer_of(model, score, ONNX_SCORERS)
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        one_version("cpu"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter(
            "ignore"
        )  # of the converter's own making, about types that it asks for
        converted = to_onnx(
            function,
            [("N", dim)],
            model_name=ONNX_GRAPH,
            input_names=["features"],
            output_names=["scores"],
        )
    write_whole(path, converted.SerializeToString())


def _check_flatbuffers() -> None:
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(
            "exported scorers need flatbuffers, which is not installed; install it with: pip install 'jaxdpmm[export]'."
        )


def _scorer_of(
    model: Model,
    score: str | None,
    scorers: Mapping[str, Callable[[Mixture], Scorer]] = SCORERS,
) -> tuple[str, Callable[[Float[Array, "N D"]], Float[Array, " N"]], int]:
    """Name, function of features alone in float32, and dimension of the features."""
    shape = model.mixture.family.point_shape
    if shape is None or len(shape) != 1:
        raise ValueError(
            f"model must be of points that are vectors, got the family {model.mixture.family} with points of shape "
            f"{shape}; flatten the points."
        )
    name = score or model.settings.get("detector", {}).get("score", "predictive")
    if name not in scorers:
        raise ValueError(
            f"score must be one of {', '.join(scorers)}, got {name!r}; choose one of them."
        )
    scorer = reduced(scorers[name](model.mixture), model.arrays)
    params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32), jax.jit(scorer.prepare)(model.posterior)
    )
    dim = model.arrays[AXES].shape[0] if AXES in model.arrays else shape[0]

    def function(features: Float[Array, "N D"]) -> Float[Array, " N"]:
        return scorer.score(params, features)

    return name, function, dim


@contextmanager
def _without_source_locations() -> Iterator[None]:
    """Else paths of this machine would be in the file, and equal scorers would not give equal bytes."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _about(model: Model, score: str, dim: int, platforms: Sequence[str]) -> bytes:
    from jaxdpmm import __version__

    about = {
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "jax_version": jax.__version__,
        "family": repr(model.mixture.family),
        "num_components": model.mixture.num_components,
        "score": score,
        "shape": ["N", dim],
        "dtype": "float32",
        "platforms": list(platforms),
    }
    return (json.dumps(about, indent=2) + "\n").encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _OLDEST), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """What is in a file that is whole and ours."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(
            f"path must be a file that `jaxdpmm export` wrote, got {path} ({found}); check the path."
        )
    is_zip = path.read_bytes()[:2] == b"PK"
    try:
        with zipfile.ZipFile(path) as archive:
            about, content = json.loads(archive.read(ABOUT)), archive.read(SCORER)
            version = about["format_version"]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        what = "one that is cut short or altered" if is_zip else "something else"
        raise ValueError(
            f"{path} must be as `jaxdpmm export` wrote it, got {what} ({error}); copy it again or export again."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a file that `jaxdpmm export` wrote, got another zip archive; check the path."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format version {FORMAT_VERSION}, got {version}; export again with this version."
        )
    return about, content


def _check_platform(path: Any, platforms: Sequence[str]) -> None:
    backend = jax.default_backend()
    names = {"gpu": {"cuda", "rocm"}}.get(backend, {backend})
    if not names & set(platforms):
        raise ValueError(
            f"{path} must hold code for the platform of this process, {backend}, got {', '.join(platforms)} alone; "
            f"export again with --platform {sorted(names)[0]}, or choose another with JAX_PLATFORMS."
        )
