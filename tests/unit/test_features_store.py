"""Feature stores: one array on disk, whole shards or none, and memory that does not grow with them."""

import errno
import json
import os
import signal
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
import safetensors.numpy
from dinov2_random import VARIANTS, random_tensors

import jaxdpmm
from jaxdpmm.features import (
    Backbone,
    Dinov2Config,
    FeatureStore,
    FeatureWriter,
    PatchExtractor,
    extract_to_store,
)
from jaxdpmm.features.conversion import convert_tensors
from jaxdpmm.features.store_index import INDEX
from jaxdpmm.inference import ArraySource, fit

X = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)


def write(path, x=X, *, every=7, shard_bytes=500, **options):
    with FeatureWriter(path, shard_bytes=shard_bytes, **options) as writer:
        for number, start in enumerate(range(0, len(x), every)):
            writer.append(x[start : start + every], f"image-{number}")
    return FeatureStore(path)


def test_a_store_is_the_array_that_was_written(tmp_path):
    store = write(tmp_path / "store", settings={"layer": 8})
    shards = [f"features-{number:05d}.safetensors" for number in range(5)]  # of 3 images, 504 bytes
    assert sorted(os.listdir(tmp_path / "store")) == [".lock", *shards, INDEX]
    assert (store.shape, store.dtype, len(store)) == ((100, 6), np.float32, 100)
    assert store.settings == {"layer": 8}
    np.testing.assert_array_equal(np.asarray(store), X)
    cases = [np.s_[:], np.s_[20:70], np.s_[-5:], np.s_[90:300], np.s_[50:10], np.s_[1:90:11]]
    cases += [np.s_[::-1], 3, -1, [0, 99, 50, 50], np.arange(0), X[:, 0] > 0]
    for rows in cases:
        np.testing.assert_array_equal(store[rows], X[rows])
    for rows in (100, -101, [3, 100]):
        with pytest.raises(IndexError, match="rows must lie below 100"):
            store[rows]
    store.verify()


def test_parts_are_disjoint_and_names_lead_to_rows(tmp_path):
    store = write(tmp_path)
    parts = [store.part(number, 3) for number in range(3)]
    np.testing.assert_array_equal(np.concatenate([part[:] for part in parts]), X)
    np.testing.assert_array_equal(parts[2].part(1, 2)[[0, -1]], X[[83, 99]])
    assert len({part.fingerprint for part in [store, *parts]}) == 4
    with pytest.raises(ValueError, match=r"from 0 to num_parts - 1 = 2, got 3"):
        store.part(3, 3)
    names = dict(store.named_rows())
    assert len(names) == 15
    np.testing.assert_array_equal(store[names["image-4"]], X[28:35])


def test_any_leading_shape_and_half_precision(tmp_path):
    with FeatureWriter(tmp_path, dtype="float16") as writer:
        writer.append(X.reshape(2, 5, 10, 6))
        assert writer.num_points == 100
    store = FeatureStore(tmp_path)
    assert store.dtype == np.float16
    np.testing.assert_array_equal(store[:], X.astype(np.float16))


def test_a_fit_from_a_store_is_a_fit_of_the_array(tmp_path, key):
    store = write(tmp_path)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(6), 3)
    prior = jaxdpmm.default_prior(mixture, X)
    starts = [jaxdpmm.initialize(mixture, prior, x, key=key, sample_size=60) for x in (X, store)]
    chex.assert_trees_all_equal(*starts)
    source = ArraySource(store, mixture.family, batch_size=33)
    assert source.fingerprint != ArraySource(store.part(0, 2), mixture.family).fingerprint
    results = [
        fit(jaxdpmm.cavi(mixture, prior), x, starts[0], num_epochs=3).posterior for x in (X, source)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), *results)


SCRIPT = """
import os, resource, sys
import jax, numpy as np
import jaxdpmm
from jaxdpmm.features import FeatureStore

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

stores = [FeatureStore(path) for path in sys.argv[1:]]
mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(384), 4)
prior = jaxdpmm.default_prior(mixture, stores[0][:1000])
peaks = []
for store in stores:
    start = jaxdpmm.initialize(mixture, prior, store, key=jax.random.key(0), sample_size=1000)
    jaxdpmm.fit(jaxdpmm.cavi(mixture, prior), store, start, num_epochs=2, tolerance=0.0, batch_size=2048)
    peaks.append(peak())
print(*peaks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
def test_memory_does_not_grow_with_the_store(tmp_path):
    piece = np.random.default_rng(0).normal(size=(20_000, 384)).astype(np.float32)  # 29 MiB
    for name, num_pieces in (("small", 1), ("large", 10)):
        with FeatureWriter(tmp_path / name, shard_bytes=2**25) as writer:
            for _ in range(num_pieces):
                writer.append(piece)
    command = [sys.executable, "-c", SCRIPT, tmp_path / "small", tmp_path / "large"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    small, large = map(float, output.split())
    assert large - small < 40  # MiB, of 293; a store held whole, or mapped whole, would add 264


WRITER = """
import sys, numpy as np
from jaxdpmm.features import FeatureWriter
x = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
with FeatureWriter(sys.argv[1], shard_bytes=500) as writer:
    for number, start in enumerate(range(0, 100, 7)):
        print(number, flush=True)
        if f"image-{number}" not in writer:
            writer.append(x[start : start + 7], f"image-{number}")
"""


def test_a_writer_that_is_killed_goes_on(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(8):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with pytest.raises(ValueError, match=r"must be a finished feature store.*\d+ points so far"):
        FeatureStore(tmp_path)
    resumed = FeatureWriter(tmp_path, shard_bytes=500)
    assert 0 < resumed.num_points < 100
    assert "image-0" in resumed
    subprocess.run(command, check=True, capture_output=True)
    np.testing.assert_array_equal(FeatureStore(tmp_path)[:], X)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(tensors, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = FeatureWriter(tmp_path, shard_bytes=500)
    for number in range(3):
        with monkeypatch.context() as patch:
            if number == 2:
                patch.setattr(safetensors.numpy, "save_file", full)
                with pytest.raises(OSError, match=r"must be writable.*No space left.*free some"):
                    writer.append(X[60:90], f"{number}")
            else:
                writer.append(X[30 * number : 30 * number + 30], f"{number}")
    writer.flush()
    writer.close()
    np.testing.assert_array_equal(FeatureStore(tmp_path)[:], X[:90])


def test_a_finished_store_can_be_added_to(tmp_path):
    before = write(tmp_path, X[:70]).fingerprint
    store = write_rest(tmp_path)
    np.testing.assert_array_equal(store[:], X)
    assert store.fingerprint != before


def write_rest(path):
    with FeatureWriter(path) as writer:
        writer.append(X[70:], "rest")
    return FeatureStore(path)


def test_extraction_goes_on_and_adds_nothing_twice(tmp_path):
    config = Dinov2Config.from_dict(VARIANTS["plain"])
    backbone = Backbone("plain", config, convert_tensors(config, random_tensors(VARIANTS["plain"])))
    extractor = PatchExtractor((1, 2))
    pixels = np.random.default_rng(0).random((3, 28, 28, 3), np.float32)
    first = extract_to_store(tmp_path, extractor, backbone, [(["a", "b"], pixels[:2])])
    assert first.settings == {"backbone": "plain", "layers": [1, 2], "normalize": True}
    store = extract_to_store(tmp_path, extractor, backbone, [("abc", pixels), ("c", pixels[2:])])
    assert [name for name, _ in store.named_rows()] == ["a", "b", "c"]
    expected = np.asarray(extractor.extract(backbone, pixels)).reshape(12, 128)
    np.testing.assert_allclose(store[:], expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"settings must be what .* was begun with"):
        extract_to_store(tmp_path, PatchExtractor(2), backbone, [("d", pixels[:1])])


@pytest.mark.parametrize(
    ("features", "name", "message"),
    [
        (X[:, :5], "new", r"features must have shape \(..., 6\).*got \(100, 5\)"),
        (X[0], "new", r"got \(6,\)"),
        (X[:0], "new", r"at least one point, got \(0, 6\)"),
        (X[:1], "image-0", "name must be new, got 'image-0'"),
        (X[:1], "", "name must be given to go on with a store"),
        (X[:1] * np.nan, "new", "features must be finite as float32"),
    ],
)
def test_what_does_not_fit_is_refused(features, name, message, tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        FeatureWriter(tmp_path).append(features, name)


def test_bad_stores_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"dtype must be one of .* got 'int8'"):
        FeatureWriter(tmp_path / "a", dtype="int8")
    with pytest.raises(ValueError, match="too large values in 'big'"):
        FeatureWriter(tmp_path / "a", dtype="float16").append(1e6 * X, "big")
    with pytest.raises(ValueError, match="must hold at least one point"):
        FeatureWriter(tmp_path / "a").close()
    with pytest.raises(FileNotFoundError, match=f"path must be a feature store.*without {INDEX}"):
        FeatureStore(tmp_path / "nowhere")
    write(tmp_path / "b")
    with pytest.raises(ValueError, match=r"dtype must be what .* was begun with, 'float32'"):
        FeatureWriter(tmp_path / "b", dtype="float16")
    shards = sorted((tmp_path / "b").glob("*.safetensors"))
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-4] + b"\1\2\3\4")
    with pytest.raises(ValueError, match=f"{shards[1].name} must be as it was written"):
        FeatureStore(tmp_path / "b").verify()
    shards[1].write_bytes(content[:-200])
    with pytest.raises(ValueError, match=f"{shards[1].name} must hold 21 points, got a file cut"):
        FeatureStore(tmp_path / "b")
    shards[1].unlink()
    with pytest.raises(FileNotFoundError, match=f"none of the name {shards[1].name}"):
        FeatureStore(tmp_path / "b")
    index = tmp_path / "b" / INDEX
    index.write_text(json.dumps({"format_version": 9}))
    with pytest.raises(ValueError, match="must have format version 1, got 9"):
        FeatureStore(tmp_path / "b")
    index.write_text("{")
    with pytest.raises(ValueError, match="must be the index of a feature store"):
        FeatureStore(tmp_path / "b")
