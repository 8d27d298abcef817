"""Feature stores among several writers and readers, killed or damaged: rows under their own names, or one sentence."""

import copy
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from machine import needs_mounting, small_disk

from jaxdpmm.features import FeatureStore, FeatureWriter, journal, store_index
from jaxdpmm.features.store_index import INDEX, index_text

GOLDEN = Path(__file__).parents[1] / "reference" / "golden" / "store_version_1"
OLD = np.arange(60, dtype=np.float32).reshape(20, 3) / 8  # what make_store.py wrote


def rows_of(name):
    """The rows that belong under a name."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    random = np.random.default_rng(seed)
    return random.normal(size=(int(random.integers(1, 6)), 4)).astype(np.float32)


def check_rows(store, names=None):
    """Every name once, with its own rows."""
    found = list(store.named_rows())
    assert len(dict(found)) == len(found)
    assert names is None or {name for name, _ in found} == set(names)
    for name, rows in found:
        np.testing.assert_array_equal(store[rows], rows_of(name))


NAMES = [f"image-{number}" for number in range(40)]


def fill(path, seed, names=NAMES, shard_bytes=400):
    """Append all names in an order of its own, some of them several at once."""
    writer = FeatureWriter(path, shard_bytes=shard_bytes)
    order = np.random.default_rng(seed).permutation(names)
    for start in range(0, len(order), 3):
        pieces = [(str(name), rows_of(str(name))) for name in order[start : start + 3]]
        writer.append_all([piece for piece in pieces if piece[0] not in writer])
    return writer.close()


WRITER = f"""
import sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
from test_features_store_shared import fill
print("ready", flush=True)
fill(sys.argv[1], int(sys.argv[2]))
"""


def start_writer(path, seed):
    command = [sys.executable, "-c", WRITER, str(path), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def outcome_of(read):
    """What reading gives: a value, or one sentence."""
    try:
        return read(), ""
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)


def in_threads(*functions):
    """Run functions at once; the errors of all of them."""
    errors = []

    def run(function):
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("seed", [0, pytest.param(range(1, 20), marks=pytest.mark.slow)])
def test_two_processes_and_two_threads_fill_one_store_and_one_is_killed(seed, tmp_path):
    for number in [seed] if isinstance(seed, int) else seed:
        path = tmp_path / str(number)
        check_at_once(path, np.random.default_rng(number))


def check_at_once(path, random):
    path.mkdir()
    process = start_writer(path, 0)
    ended = threading.Event()

    def kill():
        ended.wait(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def write(number):
        check_rows(fill(path, number), NAMES)

    def read():
        while not ended.is_set():
            store, said = outcome_of(lambda: FeatureStore(path))
            if store is None:
                assert "finished feature store" in said or "without index" in said
            else:
                check_rows(store)

    def all_writers():
        try:
            assert in_threads(kill, lambda: write(1), lambda: write(2)) == []
        finally:
            ended.set()

    assert in_threads(all_writers, read) == []
    store = FeatureStore(path)
    store.verify()
    check_rows(store, NAMES)
    FeatureWriter(path)
    assert {name[:8] for name in os.listdir(path)} == {".lock", INDEX[:8], "features"}


def test_what_is_appended_stays_though_no_shard_is_full(tmp_path):
    for number in range(5):
        FeatureWriter(tmp_path).append(rows_of(NAMES[number]), NAMES[number])  # and then is gone
    assert FeatureWriter(tmp_path).num_points == sum(len(rows_of(name)) for name in NAMES[:5])
    with pytest.raises(ValueError, match="must be a finished feature store, got one with 0 points"):
        FeatureStore(tmp_path)
    check_rows(FeatureWriter(tmp_path).close(), NAMES[:5])
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize("cut", [1, 10, 60, 150])
def test_a_record_that_is_half_written_counts_as_absent(cut, tmp_path):
    writer = FeatureWriter(tmp_path)
    for name in NAMES[:3]:
        writer.append(rows_of(name), name)
    (path,) = tmp_path.glob("journal-*")
    size = path.stat().st_size
    writer.append_all([(name, rows_of(name)) for name in NAMES[3:6]])
    os.truncate(path, max(size + 1, path.stat().st_size - cut))
    resumed = FeatureWriter(tmp_path)
    assert [name for name in NAMES if name in resumed] == NAMES[:3]
    resumed.append(rows_of(NAMES[7]), NAMES[7])
    check_rows(resumed.close(), [*NAMES[:3], NAMES[7]])


def test_a_damaged_journal_gives_no_wrong_rows(tmp_path):
    names = NAMES[:4]
    writer = FeatureWriter(tmp_path / "whole")
    for name in names:
        writer.append(rows_of(name), name)
    content = next((tmp_path / "whole").glob("journal-*")).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(20):
        path = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", path)
        damaged = bytearray(content)
        damaged[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
        (path / "journal-00000").write_bytes(damaged)
        writer = FeatureWriter(path)
        assert sum(name in writer for name in names) < 4
        writer.append_all([(name, rows_of(name)) for name in names if name not in writer])
        check_rows(writer.close(), names)
        shutil.rmtree(path)


def test_a_full_disk_under_the_journal_loses_nothing(tmp_path, monkeypatch):
    writer = FeatureWriter(tmp_path)
    writer.append(rows_of("a"), "a")

    def full(file, content):
        file.write(bytes(content)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write_all", full)
        for name in "bc":
            with pytest.raises(OSError, match=r"journal-00000 must be writable.*No space left"):
                writer.append(rows_of(name), name)
    assert "b" in writer
    assert "c" in writer
    writer.append(rows_of("d"), "d")
    check_rows(writer.close(), "abcd")


@needs_mounting
def test_a_disk_that_really_is_full(tmp_path):
    with small_disk(tmp_path, "64k"):
        (tmp_path / "other").write_bytes(bytes(20_000))
        writer, names, refused = FeatureWriter(tmp_path / "store", shard_bytes=2000), [], []
        while len(refused) < 3:  # shards and journal, at whatever moment they stop to fit
            names.append(f"image-{len(names)}")
            try:
                writer.append(rows_of(names[-1]), names[-1])
            except OSError as error:
                refused.append(str(error))
        assert all(re.search("must be writable.*No space left.*free some", s) for s in refused)
        assert all(name in writer for name in names)
        (tmp_path / "other").unlink()
        check_rows(writer.close(), names)


def test_several_pieces_are_there_together_or_not_at_all(tmp_path):
    writer = FeatureWriter(tmp_path)
    with pytest.raises(ValueError, match=r"features must have shape \(..., 4\)"):
        writer.append_all([("a", rows_of("a")), ("b", rows_of("b")[:, :3])])
    assert "a" not in writer
    assert writer.num_points == 0
    writer.append(rows_of("a")[:, :2], "a")  # the first D that is written counts


def test_of_one_name_the_first_rows_are_kept_and_other_writers_are_told_what_they_miss(tmp_path):
    first, second = FeatureWriter(tmp_path), FeatureWriter(tmp_path)
    first.append(rows_of("a"), "a")
    second.append(1 + rows_of("a"), "a")
    second.append(rows_of("b"), "b")
    with pytest.raises(ValueError, match="name must be new, got 'a'"):
        second.append(rows_of("a"), "a")
    with pytest.raises(ValueError, match="name must be given to go on with a store"):
        first.append(rows_of("c"))
    with pytest.raises(ValueError, match=r"settings must be what .* was begun with"):
        FeatureWriter(tmp_path, settings={"layer": 1})
    finished = first.close()
    second.append(rows_of("c"), "c")
    second.flush()
    check_rows(finished, "ab")
    check_rows(second.close(), "abc")


def test_stores_of_the_first_version_open_and_go_on(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "old")
    store = FeatureStore(tmp_path / "old" / "finished")
    np.testing.assert_array_equal(store[:], OLD)
    store.verify()
    for name in ("finished", "killed"):
        writer = FeatureWriter(tmp_path / "old" / name, settings={"layer": 8})
        missing = [i for i in range(6) if f"image-{i}" not in writer]
        assert missing == {"finished": [5], "killed": [2, 3, 4, 5]}[name]
        for number in missing:
            writer.append(OLD[4 * number :] if number < 5 else OLD[:2], f"image-{number}")
            writer = FeatureWriter(tmp_path / "old" / name, settings={"layer": 8})
        assert len(writer.close()) > 20


def test_an_altered_shard_is_never_loaded(tmp_path):
    fill(tmp_path / "whole", 0, NAMES[:8])
    (first, *_) = sorted((tmp_path / "whole").glob("*.safetensors"))
    size = first.stat().st_size
    random = np.random.default_rng(0)
    refused = 0
    for number in range(60):
        path = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", path)
        shard = path / first.name
        content = bytearray(shard.read_bytes())
        content[int(random.integers(size))] ^= 1 << int(random.integers(8))
        shard.write_bytes(content)
        store, said = outcome_of(lambda path=path: (FeatureStore(path), FeatureStore(path)[:])[0])
        if store is None:
            assert "\n" not in said
            assert shard.name in said
            refused += 1
        else:  # a space of the header, for example
            check_rows(store, NAMES[:8])
    assert refused > 40


def test_every_shard_is_compared_once_in_a_process(tmp_path, monkeypatch):
    store = fill(tmp_path, 0)
    compared = []
    check = FeatureStore._check
    monkeypatch.setattr(
        FeatureStore, "_check", lambda *a: (compared.append(a[2]["file"]), check(*a))
    )
    store[:1]
    assert compared == ["features-00000.safetensors"]  # not the others
    store[:], store[[3, 50]], FeatureStore(tmp_path).part(1, 2)[:]
    assert sorted(compared) == [shard.name for shard in sorted(tmp_path.glob("*.safetensors"))]


DEEP = "[" * 100_000 + "]" * 100_000
STRANGE = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    float("nan"),
    "",
    "..",
    "../x",
    "a\0b",
    "\ud800",
    [],
    {},
    [[]],
    "x" * 300,
]


def places(tree, path=()):
    """The ways to all parts of a JSON tree."""
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


def replaced(tree, path, value):
    if not path:
        return value
    tree = copy.deepcopy(tree)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    if value is KeyError:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return tree


@pytest.mark.parametrize("with_digest", [False, True])
def test_a_strange_index_is_one_sentence_or_harmless(with_digest, tmp_path):
    fill(tmp_path, 0, NAMES[:4], shard_bytes=10**6)
    index = store_index.read_index(tmp_path)
    outcomes = {"the same": 0, "a sentence": 0}
    for path in places(index):
        if path[:1] == ("settings",) and len(path) > 1:
            continue
        for value in [*STRANGE, KeyError] if path else STRANGE:
            other = replaced(index, path, value)
            text = (
                index_text(other) if with_digest and isinstance(other, dict) else json.dumps(other)
            )
            (tmp_path / INDEX).write_text(text)
            rows, said = outcome_of(
                lambda: [FeatureStore(tmp_path)[:], FeatureStore(tmp_path)[[0, -1]]]
            )
            if rows is None:
                assert "\n" not in said
                assert re.fullmatch(".* must .*, got .*; .*", said), said
                outcomes["a sentence"] += 1
            else:
                assert len(rows[0]) == sum(len(rows_of(name)) for name in NAMES[:4])
                outcomes["the same"] += 1
    assert outcomes["a sentence"] > 300
    (tmp_path / INDEX).write_text('{"format_version": 1, "settings": ' + DEEP + "}")
    for read in (FeatureStore, FeatureWriter):
        with pytest.raises(ValueError, match="must be the index of a feature store, got something"):
            read(tmp_path)


def test_an_index_whose_text_was_altered_is_refused(tmp_path):
    fill(tmp_path, 0, NAMES[:4])
    text = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(text.replace("image-1", "image-7"))
    with pytest.raises(ValueError, match="got an altered one"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"other": np.ones((3, 4), np.float32)}, "must be a shard of a feature store, got something"),
        ({"features": np.ones((4, 3), np.float32)}, r"float32 of shape \[3, 4\], got F32 of shape \[4, 3\]"),
        ({"features": np.ones((3, 4), np.int32)}, r"float32 of shape \[3, 4\], got I32"),
        ({"features": np.full((3, 4), np.nan, np.float32)}, "must hold finite features, got nan"),
    ],
)  # fmt: skip
def test_strange_shards_with_a_right_digest(tensors, message, tmp_path):
    import safetensors.numpy

    from jaxdpmm.features.store import sha256_of

    writer = FeatureWriter(tmp_path)
    writer.append(np.zeros((3, 4)), "a")
    writer.close()
    safetensors.numpy.save_file(tensors, tmp_path / "features-00000.safetensors")
    index = store_index.read_index(tmp_path)
    index["shards"][0]["sha256"] = sha256_of(next(iter(tensors.values())))
    (tmp_path / INDEX).write_text(index_text(index))
    with pytest.raises(ValueError, match=message):
        FeatureStore(tmp_path)[:]
