"""Several runs on one cache, one model file, one checkpoint: each ends with what it ends with alone, killed or not."""

import functools
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from synthetic import SIDE, write_backbone, write_mvtec

import jaxdpmm
from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.detection.training import training_patches
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import read_mvtec
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.persist import Model, load_model, save_model

NUM_TRAIN = 31  # three full batches and seven images that go through the backbone one by one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("two")
    write_backbone(path / "tiny")
    write_mvtec(path / "data", num_train=NUM_TRAIN)
    return path


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone(folder / "tiny")


@pytest.fixture(scope="module")
def records(folder):
    return read_mvtec(folder / "data").train


def config_of(backbone):
    return DetectorConfig(
        backbone=backbone.name, short_side=SIDE, num_components=3, num_epochs=3, tolerance=1.0
    )


def at_once(*functions):
    """Run functions in threads; what they return, or the first error."""
    results = [None] * len(functions)

    def run(number):
        try:
            results[number] = functions[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def test_runs_that_share_a_cache_learn_what_each_learns_alone(folder, backbone, records, tmp_path):
    config = config_of(backbone)
    names = itertools.count()

    def learned(chosen, cache):
        path = tmp_path / f"{next(names)}"
        Detector.fit(chosen, config, backbone=backbone, cache=cache).save(path)
        return path.read_bytes()

    parts = [records[:16], records[8:24]]  # a batch in common
    alone = [learned(chosen, tmp_path / f"cache-{i}") for i, chosen in enumerate(parts)]
    assert alone[0] == learned(parts[0], None) != alone[1]
    cache = tmp_path / "shared"
    turns = [parts[0], parts[1], parts[0]]
    together = at_once(*(functools.partial(learned, part, cache) for part in turns))
    assert together == [alone[0], alone[1], alone[0]]


EXTRACTS = """
import sys
from pathlib import Path
from jaxdpmm.detection import cache
import test_two_at_once as test

stream = cache.stream_patches

def told(*args, **options):
    for number, image in enumerate(stream(*args, **options), start=1):
        print(number, flush=True)
        yield image

cache.stream_patches = told
folder = Path(sys.argv[1])
backbone = test.load_backbone(folder / "tiny")
test.training_patches(
    test.read_mvtec(folder / "data").train, test.config_of(backbone), backbone, cache=sys.argv[2]
)
"""


@pytest.mark.parametrize("num_seen", [21, pytest.param(25, marks=pytest.mark.slow)])
def test_a_killed_run_leaves_what_it_extracted_and_the_next_goes_on_to_the_same_bits(
    num_seen, folder, backbone, records, tmp_path, monkeypatch
):
    from jaxdpmm.detection import cache

    command = [sys.executable, "-c", EXTRACTS, str(folder), str(tmp_path)]
    places = {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **places}
    )
    assert [int(process.stdout.readline()) for _ in range(num_seen)][-1] == num_seen
    process.send_signal(signal.SIGKILL)
    process.communicate()
    streamed = []
    stream = cache.stream_patches

    def counted(missing, *args, **options):
        streamed.append(len(missing))
        return stream(missing, *args, **options)

    monkeypatch.setattr(cache, "stream_patches", counted)
    config = config_of(backbone)
    resumed = training_patches(records, config, backbone, cache=tmp_path)
    assert streamed[0] <= NUM_TRAIN - (num_seen - 1) // 8 * 8
    whole = training_patches(records, config, backbone)
    np.testing.assert_array_equal(resumed.features[:], whole.features)
    assert resumed.sources == whole.sources


def test_a_model_that_is_read_while_others_save_it_is_one_of_theirs(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(3), 4)
    prior = jaxdpmm.default_prior(mixture, x)
    posterior = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    path = tmp_path / "model"

    def save(name):
        for _ in range(15):
            save_model(path, Model(mixture, prior, posterior, {"name": name}))

    def read():
        return {load_model(path).settings["name"] for _ in range(15)}

    save_model(path, Model(mixture, prior, posterior, {"name": "a"}))
    *_, first, second = at_once(lambda: save("a"), lambda: save("b" * 5000), read, read)
    assert first | second <= {"a", "b" * 5000}
    assert os.listdir(tmp_path) == ["model"]


def test_fits_with_one_checkpoint_folder_end_as_each_ends_alone(tmp_path):
    x = np.random.default_rng(0).normal(size=(120, 3)) + np.repeat(4 * np.eye(3), 40, axis=0)
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(3), 4)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))

    def fitted(checkpoint=None):
        options = {"num_epochs": 12, "tolerance": 0.0, "batch_size": 50, "shuffle": True}
        return jaxdpmm.fit(memoized(mixture, prior), x, start, checkpoint=checkpoint, **options)

    alone = fitted()
    for result in at_once(*[lambda: fitted(tmp_path)] * 3):
        jax.tree.map(np.testing.assert_array_equal, result.state, alone.state)
        assert [epoch.objective for epoch in result.history] == [
            epoch.objective for epoch in alone.history
        ]
    assert os.listdir(tmp_path) == ["checkpoint.safetensors"]


@pytest.mark.slow
def test_commands_that_share_a_cache_and_are_killed_at_any_moment(folder, tmp_path):
    def command(model, cache):
        places = ["fit", folder / "data", "--output", model, "--cache", cache]
        settings = ["--backbone", folder / "tiny", "--short-side", SIDE, "--num-components", 3]
        return [
            sys.executable,
            "-c",
            "import jaxdpmm.cli; jaxdpmm.cli.main()",
            *map(str, [*places, *settings]),
        ]

    def start(model, cache):
        return subprocess.Popen(command(tmp_path / model, cache), stderr=subprocess.DEVNULL)

    assert start("alone", tmp_path / "first").wait() == 0
    alone = (tmp_path / "alone").read_bytes()
    random = np.random.default_rng(0)
    kills = 0
    for number in range(5):
        cache = tmp_path / f"cache-{number}"
        killed, *others = [start(f"{number}-{place}", cache) for place in range(3)]
        while killed.poll() is None and not list(cache.glob("*/index.json")):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))  # about as long as extraction takes
        kills += killed.poll() is None
        killed.send_signal(signal.SIGKILL)
        assert [process.wait() for process in [*others, killed]][:2] == [0, 0]
        for place in (1, 2):
            assert (tmp_path / f"{number}-{place}").read_bytes() == alone
        files = [name for store in cache.iterdir() for name in os.listdir(store)]
        assert all(re.fullmatch(r"\.lock|index\.json|features-.*", name) for name in files)
    assert kills
