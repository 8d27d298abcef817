"""What a kind of file is to the search for files that are read wrongly: whole ones, a reader, and mutations.

A reader returns what the file means, as JSON and arrays, so that two readings can be compared.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutations import Files, Mutation, in_file, json_text, mutate_json

GOLDEN = Path(__file__).parent / "reference" / "golden" / "version_1"


class Target(NamedTuple):
    """One kind of file.

    Attributes:
        files: a whole one, by name within a folder.
        read: what a folder means: description and arrays.
        mutate: one mutation.
        says: what an honest file says, read without any check; None where `read` cannot but agree with the file.
    """

    files: Files
    read: Callable[[Path], tuple[Any, dict[str, np.ndarray]]]
    mutate: Callable[[np.random.Generator, Files], Mutation]
    says: Callable[[Files], tuple[Any, dict[str, np.ndarray]]] | None = None


def files_of(folder: Path, pattern: str) -> Files:
    """Files of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def mutate_json_file(random: np.random.Generator, files: Files, name: str) -> Mutation:
    """A file that is JSON, which has no digest of its own, altered."""

    def change(content: bytes) -> tuple[bytes, str]:
        value, what = mutate_json(random, json.loads(content))
        return json_text(value).encode(), what

    return in_file(files, name, change, honest=True)
