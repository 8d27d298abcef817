"""One model, one file, no pickle: arrays as safetensors, everything else as JSON in the file's header.

A file holds a fitted mixture with its prior and, in `settings`, whatever its maker needs to use it again (the
detector keeps its backbone and preprocessing there). Trees are stored leaf by leaf under the names of their fields, and
rebuilt from the family and the sticks, whose functions tell the structure: loading runs no code of the file, and
class names are looked up in two short tables. The format has a version of its own; a file is checked against its
SHA-256 (`storage/tree_store.py`), its fields against `_Description` and its arrays against the mixture
(`storage/model_trees.py`), and a new one takes the place of an old one only when it is complete.
Next file to read: `detection/detector.py`.
"""

import dataclasses
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import safetensors.numpy

from jaxdpmm import families
from jaxdpmm import sticks as stick_priors
from jaxdpmm.model import Mixture, Posterior, Prior
from jaxdpmm.storage.descriptions import as_type, shown
from jaxdpmm.storage.files import replace_file
from jaxdpmm.storage.model_trees import check_rebuildable, problem_of, template_of
from jaxdpmm.storage.outputs import MODEL, check_replaceable
from jaxdpmm.storage.tree_store import TreeFormat, metadata_of, named_leaves, read_tree

FORMAT_VERSION = 1
"""Of model files, those of detectors included.

It rises when a file of the new version would mean something else to a reader of the old one, or could not be read by
it for another reason than a family, a prior or a setting that it does not know. A new entry of `settings` or a new
array that old readers leave alone, and a new family, do not raise it. What is promised: every later version of the
library reads the files of every version so far, and writes the newest alone; a file of each version that was ever
written is among the tests (`tests/reference/golden`).
"""
MODEL_FILE = TreeFormat(
    key="jaxdpmm",
    version=FORMAT_VERSION,
    noun="a model file written by jaxdpmm",
    remedy="give a file that `jaxdpmm fit --output` or save_model wrote, or fit again",
    field="model",
)

_ARRAYS = "arrays/"


def _concrete(module: Any, base: type) -> dict[str, type]:
    """The public classes of a wing that can be made: the only ones that a file can name."""
    public = {name: getattr(module, name) for name in module.__all__}
    return {
        name: cls
        for name, cls in public.items()
        if isinstance(cls, type) and issubclass(cls, base) and not inspect.isabstract(cls)
    }


_FAMILIES = _concrete(families, families.Family)
_STICKS = _concrete(stick_priors, stick_priors.StickBreaking)


class _Part(msgspec.Struct, forbid_unknown_fields=True, rename={"name": "class"}):
    """A family or the sticks: a class and the fields of the frozen dataclass."""

    name: str
    built_in: bool
    fields: dict[str, Any]


class _Description(msgspec.Struct, forbid_unknown_fields=True):
    """What the header of a model file says."""

    library_version: str
    jax_version: str
    family: _Part
    sticks: _Part
    num_components: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    settings: dict[str, Any]


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
        ValueError: `settings` hold a number that is not finite, the family does not tell enough to rebuild its trees,
            or an array is none that the mixture can have.
        FileExistsError: what lies there is no model file.
    """
    check_replaceable(path, MODEL)
    description, tensors = described(model)
    metadata = metadata_of(MODEL_FILE, description, tensors)
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def described(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A model as JSON and named arrays, for a file that holds it; `rebuilt` is the way back.

    Raises:
        ValueError: the family does not tell enough to rebuild its trees, or an array is none that the mixture can have.
    """
    check_rebuildable(model.mixture, model.prior, model.posterior)
    trees = {"prior": model.prior, "posterior": model.posterior}
    tensors = {name: np.array(leaf, order="C") for name, leaf in named_leaves(trees).items()}
    if problem := problem_of(model.mixture, tensors):
        raise ValueError(f"posterior must be what fit returned, got {problem}; fit again.")
    tensors |= {_ARRAYS + name: np.array(array, order="C") for name, array in model.arrays.items()}
    return _description(model), tensors


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
    description, tensors = read_tree(Path(path), MODEL_FILE)
    return rebuilt(path, description, tensors, family=family, sticks=sticks)


def rebuilt(
    path: str | os.PathLike,
    about: dict[str, Any],
    tensors: dict[str, np.ndarray],
    *,
    family: families.Family | None = None,
    sticks: stick_priors.StickBreaking | None = None,
) -> Model:
    """The model that `described` has made JSON and arrays of.

    Args:
        path: of the file, for messages.
        about: the JSON.
        tensors: the arrays.
        family: as of `load_model`.
        sticks: as of `load_model`.

    Raises:
        ValueError: as of `load_model`.
    """
    with MODEL_FILE.reading(path):
        description = as_type(about, _Description)
    found_family = _rebuilt("family", description.family, family, _FAMILIES, path)
    found_sticks = _rebuilt("sticks", description.sticks, sticks, _STICKS, path)
    mixture = Mixture(found_family, description.num_components, found_sticks)
    arrays = {
        name.removeprefix(_ARRAYS): tensors[name] for name in tensors if name.startswith(_ARRAYS)
    }
    own = {name: tensors[name] for name in tensors if not name.startswith(_ARRAYS)}
    if problem := problem_of(mixture, own):
        raise MODEL_FILE.wrong(path, f"one with {problem}")
    template = template_of(mixture, "posterior/offset" in own)
    leaves = [jnp.asarray(own[name]) for name in named_leaves(template)]
    trees = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return Model(mixture, trees["prior"], trees["posterior"], description.settings, arrays)


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
    name = type(part).__qualname__
    return {
        "class": name,
        "built_in": type(part) is (_FAMILIES | _STICKS).get(name),
        "fields": json.loads(json.dumps(fields, default=_json_of)),
    }


def _json_of(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else repr(value)


def _rebuilt(argument: str, stored: _Part, given: Any, known: Mapping[str, type], path: Any) -> Any:
    """The family or the sticks of a file: what the caller gave, or the library's own class."""
    if given is not None:
        found = as_type(_describe(given), _Part)
        if (found.name, found.fields) != (stored.name, stored.fields):
            raise ValueError(
                f"{argument} must be what {path} was saved with, {_call_of(stored)}, got {_call_of(found)}; "
                "pass that one."
            )
        return given
    own = f"pass it: load_model(path, {argument}={_call_of(stored)})"
    if not stored.built_in:
        raise ValueError(
            f"{path} must be loaded with its own {argument}, got none for the class {shown(stored.name)}, which "
            f"is not part of this library; {own}."
        )
    try:
        return as_type(stored.fields, known[stored.name])
    except (KeyError, ValueError) as error:
        reason = "no such class" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(
            f"{path} must name a {argument} of this library, got {_call_of(stored)} ({reason}); {own}, or "
            f"{MODEL_FILE.remedy}."
        ) from error


def _call_of(stored: _Part) -> str:
    """The expression that makes a part, on one line."""
    fields = ", ".join(f"{name}={value!r}" for name, value in stored.fields.items())
    text = f"{stored.name}({fields})"
    return text if text.isprintable() and len(text) < 1000 else shown(text)
