"""A fitted scorer as one file that runs without this library: with JAX alone on CPU, CUDA and TPU, or as ONNX.

The file is a zip archive of `about.json` and `scorer.bin`, a serialised `jax.export.Exported` from features (N, D),
float32, N of any size, to anomaly scores (N,). Parameters are constants in it. To run it where JAX is and this library
is not:

    import zipfile
    from jax import export

    scorer = export.deserialize(bytearray(zipfile.ZipFile("scorer.jaxdpmm").read("scorer.bin")))
    scores = scorer.call(features)

JAX reads such files for at least six months after their version. `load_scorer` (`exported.py`, read next) does the same
with checks, and a tile at a time. Not here: the backbone, whose features these are, and maps (`detection/maps.py`).
"""

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from jaxdpmm.checks import check_choice
from jaxdpmm.choices import OF_IMAGES, names_of
from jaxdpmm.detection.reduction import reduced, reduction_of
from jaxdpmm.detection.settings import DetectorSettings
from jaxdpmm.detection.stored.scores import fusion_of
from jaxdpmm.exported import (
    ABOUT,
    FORMAT_VERSION,
    KNOWN_PLATFORMS,
    SCORER,
    check_flatbuffers,
    load_scorer,
)
from jaxdpmm.families.kernels import one_version
from jaxdpmm.model import Mixture
from jaxdpmm.persist import Model, write_whole
from jaxdpmm.scoring import (
    SCORERS,
    Scorer,
    cosine,
    fused,
    nearest_predictive,
    residual,
    spherical,
)
from jaxdpmm.storage.descriptions import as_type, shown
from jaxdpmm.storage.outputs import ONNX_GRAPH, ONNX_SCORER, check_replaceable
from jaxdpmm.storage.outputs import SCORER as SCORER_FILE

__all__ = ["export_onnx", "export_scorer", "load_scorer"]

PLATFORMS = ("cpu", "cuda", "tpu")
ONNX_SCORERS: dict[str, Callable[[Mixture], Scorer]] = {
    **SCORERS,
    "nearest_predictive": partial(nearest_predictive, grouped=False),
    "cosine": partial(cosine, screened=False),
    "residual": partial(residual, screened=False),
    "spherical": partial(spherical, grouped=False),
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
    check_flatbuffers()
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
    content = bytes(exported.serialize())
    about = _about(model, name, dim, platforms, content)
    write_whole(path, _zipped({ABOUT: about, SCORER: content}))


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
    names = (score,) if score else names_of(_score_of(model))
    if set(OF_IMAGES) & set(names):
        raise ValueError(
            f"score must be of a patch and the mixture alone to be exported, got {' and '.join(names)}; name one that "
            "is, or fit without the context, known anomalies and unlabelled images."
        )
    for name in names:
        check_choice("score", name, scorers)
    reduction = _of_model(reduction_of, model, model.mixture.family.point_shape)
    scorer, fitted = _of_names(model, [scorers[name](model.mixture) for name in names])
    scorer, fitted = reduced(scorer), (fitted, reduction)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), jax.jit(scorer.prepare)(fitted))

    def function(features: Float[Array, "N D"]) -> Float[Array, " N"]:
        return scorer.score(params, features)

    return " + ".join(names), function, shape[0] if reduction is None else reduction.axes.shape[0]


def _of_names(model: Model, scorers: Sequence[Scorer]) -> tuple[Scorer, Any]:
    """One score and what it is fitted on, or several with the model's fusion of them."""
    if len(scorers) == 1:
        return scorers[0], model.posterior
    fusion = _of_model(fusion_of, model, len(scorers))
    if fusion is None:
        raise ValueError(
            f"model must hold a fusion of its {len(scorers)} scores, got none; fit again, or name one score."
        )
    return fused(tuple(scorers)), ((model.posterior,) * len(scorers), fusion)


def _score_of(model: Model) -> str | tuple[str, ...]:
    """Name or names of the score that a model was fitted for: the detector's, "predictive" for a mixture alone."""
    settings = model.settings.get("detector", {"score": "predictive"})
    if not isinstance(settings, dict):
        raise ValueError(
            f"model must be of a detector or a mixture, got settings {shown(settings)}; fit again."
        )
    return as_type(settings, DetectorSettings).score


def _of_model(read: Callable[..., Any], model: Model, *args: Any) -> Any:
    """A part of a model's arrays."""
    try:
        return read(model.arrays, *args)
    except ValueError as error:
        raise ValueError(
            f"model must be of a detector or a mixture, got one with {error}; fit again."
        ) from error


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


def _about(model: Model, score: str, dim: int, platforms: Sequence[str], content: bytes) -> bytes:
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
        "sha256": sha256(content).hexdigest(),
    }
    return (json.dumps(about, indent=2) + "\n").encode()


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _OLDEST), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
