"""Damaged and hostile files: every one is read as it was, or refused in one sentence, whatever its digests say.

A file whose digests were computed anew may also be another valid file; then what is read must be what it says.
"""

import collections
import json
import time
import warnings
import zlib

import numpy as np
import pytest
from hostile_base import Target
from hostile_targets import NAMES, make_target
from mutations import Mutation

DEFAULT, MANY = 300, 2000
# On a busy machine; reading alone takes milliseconds, compiling a score a second.
SLOWEST_SECONDS = 60.0


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_read_as_it_was_or_refused_in_one_sentence(name, tmp_path):
    run(name, tmp_path, DEFAULT // len(NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_more(name, tmp_path):
    run(name, tmp_path, MANY // len(NAMES))


def run(name: str, folder, number: int) -> None:
    """Some mutations of one kind of file, drawn by a seed of its own; the failures of all are told at once."""
    (folder / "made").mkdir()
    target = make_target(name, folder / "made")
    expected = target.read(written(folder / "whole", target.files))
    random = np.random.default_rng(zlib.crc32(name.encode()))
    outcomes: collections.Counter[str] = collections.Counter()
    failures = []
    for place in range(number):
        mutation = target.mutate(random, target.files)
        where = written(folder / f"{place:04d}", mutation.files)
        start = time.perf_counter()
        outcome = outcome_of(target, where, mutation, expected)
        seconds = time.perf_counter() - start
        if seconds > SLOWEST_SECONDS:
            outcome = f"WRONG: {seconds:.0f} seconds"
        outcomes[outcome.split(":")[0]] += 1
        if outcome.startswith("WRONG"):
            failures.append(f"{place} {mutation.what} (honest={mutation.honest}): {outcome}")
    print(name, dict(outcomes))
    assert not failures, "\n".join(failures[:20])


def written(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def outcome_of(target: Target, folder, mutation: Mutation, expected) -> str:
    """ "same", "refused", "as it says", or what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = target.read(folder)
    except (ValueError, TypeError, FileNotFoundError) as error:
        text = str(error)
        is_sentence = " must " in text and " got " in text and "\n" not in text and len(text) < 4000
        named = str(folder) in text
        kind = type(error).__name__
        return "refused" if is_sentence and named else f"WRONG: {kind}: {text[:300]!r}"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {str(error)[:300]!r}"
    if equal(found, expected):
        return "same"
    if not mutation.honest:
        return "WRONG: read as something else"
    if target.says is not None and not equal(found, target.says(mutation.files)):
        return "WRONG: read as something that the file does not say"
    return "as it says"


def equal(left, right) -> bool:
    """Whether two meanings are one, types included; a whole number may stand for a float."""
    (facts, arrays), (others, theirs) = left, right
    return (
        json.dumps(plain(facts), sort_keys=True) == json.dumps(plain(others), sort_keys=True)
        and set(arrays) == set(theirs)
        and all(same_array(arrays[name], theirs[name]) for name in arrays)
    )


def plain(value):
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 2**53 else value


def same_array(left, right) -> bool:
    same_type = (left.dtype, left.shape) == (right.dtype, right.shape)
    return same_type and bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
