"""One model, one file, no pickle: arrays as safetensors, everything else as JSON in the file's header.

A file holds a fitted mixture with its prior and, in `settings`, whatever its maker needs to use it again (the
detector keeps its backbone and preprocessing there). Trees are stored leaf by leaf under the names of their fields, and
rebuilt from the family and the sticks, whose functions tell the structure: loading runs no code of the file. The format
has a version of its own; a file is checked against its SHA-256 before anything is made of it, and a new one
takes the place of an old one only when it is complete.
Next file to read: `detection/detector.py`.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from jaxdpmm import families
from jaxdpmm import sticks as stick_priors
from jaxdpmm.files import replace_file
from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.outputs import MODEL, check_replaceable

FORMAT_VERSION = 1

# All of the header is one JSON text under one key, since safetensors writes several keys in random order.
_KEY = "jaxdpmm"
_ARRAYS = "arrays/"


class Model(NamedTuple):
    """What a file holds; here alone, at the edge of the library, configuration and arrays travel together.

    Attributes:
        mixture: static description.
        prior: hyper-parameters.
        posterior: fitted, of the mixture's number of components.
        settings: anything that JSON can say, for the program that reads the file.
        arrays: further arrays of that program, by name.
    """

    mixture: Mixture
    prior: Prior
    posterior: Posterior
    settings: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = {}


def save_model(path: str | os.PathLike, model: Model) -> None:
    """Write a model to one file, whole or not at all.

    Equal models give equal bytes: there is no time stamp.

    Args:
        path: where; an earlier model is replaced in one step.
        model: what.

    Raises:
        FileNotFoundError: the folder does not exist.
        TypeError: `settings` hold something that is not JSON.
        ValueError: the family does not tell enough to rebuild its trees.
        FileExistsError: what lies there is no model file.
    """
    check_replaceable(path, MODEL)
    _check_rebuildable(model)
    tensors = _named_leaves(model.prior, model.posterior)
    tensors |= {_ARRAYS + name: np.array(array, order="C") for name, array in model.arrays.items()}
    description = _description(model)
    header = {
        "format_version": FORMAT_VERSION,
        "sha256": _digest(description, tensors),
        "model": description,
    }
    write_whole(path, safetensors.numpy.save(tensors, {_KEY: json.dumps(header)}))


def load_model(
    path: str | os.PathLike,
    *,
    family: families.Family | None = None,
    sticks: stick_priors.StickBreaking | None = None,
) -> Model:
    """Read a model back, exactly as it was saved.

    Args:
        path: file that `save_model` wrote.
        family: needed when the family is not one of this library, since a file holds no code.
        sticks: the same for the prior of the weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, altered, of another format version or no model at all, or `family`
            or `sticks` is needed or is not what was saved.
    """
    description, tensors = _read(Path(path))
    mixture = Mixture(
        _rebuilt("family", description["family"], family, path),
        description["num_components"],
        _rebuilt("sticks", description["sticks"], sticks, path),
    )
    arrays = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_ARRAYS)}
    prior, posterior = _from_named_leaves(mixture, tensors, path)
    arrays = {name.removeprefix(_ARRAYS): array for name, array in arrays.items()}
    return Model(mixture, prior, posterior, description["settings"], arrays)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write some bytes so that nobody ever sees half a file (see `files.replace_file`).

    Raises:
        FileNotFoundError: the folder does not exist.
        OSError: it cannot be written, for example on a full disk.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must lie in an existing folder, got {path}, whose folder is not there; create it first."
        )
    replace_file(path, lambda partial: partial.write_bytes(content))


def _description(model: Model) -> dict[str, Any]:
    from jaxdpmm import __version__

    return {
        "library_version": __version__,
        "jax_version": jax.__version__,
        "family": _describe(model.mixture.family),
        "sticks": _describe(model.mixture.sticks),
        "num_components": model.mixture.num_components,
        "settings": dict(model.settings),
    }


def _describe(part: Any) -> dict[str, Any]:
    """Class and fields of a frozen dataclass; a field that JSON does not know by its `repr`."""
    fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return {
        "class": type(part).__qualname__,
        "built_in": type(part) is _built_in_class(type(part).__qualname__),
        "fields": json.loads(json.dumps(fields, default=repr)),
    }


def _built_in_class(name: str) -> type | None:
    return getattr(families, name, None) or getattr(stick_priors, name, None)


def _rebuilt(argument: str, stored: Mapping[str, Any], given: Any, path: Any) -> Any:
    """The family or the sticks of a file: what the caller gave, or the library's own class."""
    if given is not None:
        if (found := _describe(given)) != stored:
            raise ValueError(
                f"{argument} must be what {path} was saved with, {_call_of(stored)}, got {_call_of(found)}; "
                "pass that one."
            )
        return given
    if not stored["built_in"]:
        raise ValueError(
            f"{path} must be loaded with its own {argument}, got none for the class {stored['class']!r}, which "
            f"is not part of this library; pass it: load_model(path, {argument}={_call_of(stored)})."
        )
    cls: Any = _built_in_class(stored["class"])
    return cls(**stored["fields"])


def _call_of(stored: Mapping[str, Any]) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in stored["fields"].items())
    return f"{stored['class']}({fields})"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Description and tensors of a file that is whole and ours."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileNotFoundError(
            f"path must be a model file written by jaxdpmm, got {path} ({found}); check the path."
        )
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = _header(file.metadata() or {}, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise _not_whole(path) from error
    if _digest(header["model"], tensors) != header["sha256"]:
        raise ValueError(
            f"{path} must be as jaxdpmm wrote it, got a file that was altered (its SHA-256 does not match); "
            "restore a copy or fit again."
        )
    return header["model"], tensors


def _header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        header = json.loads(metadata[_KEY])
        version = header["format_version"]
    except (KeyError, TypeError, ValueError):
        raise _foreign(path) from None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format version {FORMAT_VERSION}, got {version}; load it with the version of "
            "jaxdpmm that wrote it, or fit again."
        )
    return header


def _not_whole(path: Path) -> ValueError:
    """A safetensors file starts with the length of its header and a brace."""
    with path.open("rb") as file:
        if file.read(9)[8:] != b"{":
            return _foreign(path)
    return ValueError(
        f"{path} must be a complete model file, got one that is cut short or damaged "
        f"({path.stat().st_size} bytes); copy it again or fit again."
    )


def _foreign(path: Path) -> ValueError:
    return ValueError(
        f"path must be a model file written by jaxdpmm, got {path}, which is something else; give the file "
        "that `jaxdpmm fit --output` or save_model wrote."
    )


def _digest(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the description and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _named_leaves(prior: Prior, posterior: Posterior) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path({"prior": prior, "posterior": posterior})[0]
    return {_name(path): np.array(leaf, order="C") for path, leaf in leaves}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _from_named_leaves(
    mixture: Mixture, tensors: Mapping[str, np.ndarray], path: Any
) -> tuple[Prior, Posterior]:
    has_offset = "posterior/offset" in tensors
    paths, structure = jax.tree_util.tree_flatten_with_path(_template(mixture, has_offset))
    names = [_name(path) for path, _ in paths]
    if sorted(names) != sorted(tensors):
        differing = sorted(set(names) ^ set(tensors))
        raise ValueError(
            f"{path} must hold the arrays of {mixture.family}, got others ({', '.join(differing)} on one side only); "
            "load it with the definition of the family that it was saved with."
        )
    rebuilt = jax.tree.unflatten(structure, [jnp.asarray(tensors[name]) for name in names])
    return rebuilt["prior"], rebuilt["posterior"]


def _template(mixture: Mixture, has_offset: bool) -> dict[str, Any]:
    """Prior and posterior with shapes in place of arrays; of these only the structure is used."""
    family, sticks = mixture.family, mixture.sticks
    point: Any = jax.ShapeDtypeStruct(family.point_shape or (), jnp.float32)
    counts: Any = jax.ShapeDtypeStruct((mixture.num_components,), jnp.float32)
    component = jax.eval_shape(family.sufficient_statistics, point)
    concentration = jax.eval_shape(lambda: sticks.default_prior(jnp.float32))
    fractions = jax.eval_shape(
        lambda counts, prior: sticks.posterior(counts, prior, None), counts, concentration
    )
    offset = point if has_offset else None
    return {
        "prior": Prior(component, concentration, offset),
        "posterior": Posterior(fractions, component, counts, offset),
    }


def _check_rebuildable(model: Model) -> None:
    """That loading will find the same structure; a family of the user's own may not tell its points' shape."""
    wanted: Any = jax.tree.structure({"prior": model.prior, "posterior": model.posterior})
    name = type(model.mixture.family).__name__
    try:
        found = jax.tree.structure(_template(model.mixture, model.posterior.offset is not None))
    except Exception as error:  # whatever a family raises at a point of the wrong shape
        raise ValueError(
            f"{name} must have the property point_shape to be saved, got none that its sufficient_statistics "
            f"accept ({error}); define it."
        ) from error
    if found != wanted:
        raise ValueError(
            f"posterior must have the structure that {name} gives its trees, {found}, got {wanted}; save what "
            "fit returned, with its own mixture."
        )
