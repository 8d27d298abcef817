"""A fit that is killed goes on to the very same bits; a checkpoint that will not do says why."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from machine import needs_mounting, small_disk

import jaxdpmm
from jaxdpmm.inference import checkpoint as checkpoints
from jaxdpmm.inference import fit
from jaxdpmm.inference.backends.gibbs import gibbs
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.online_em import online_em
from jaxdpmm.inference.backends.stochastic import stochastic
from jaxdpmm.inference.history import Epoch
from jaxdpmm.inference.local_steps.sparse import candidates
from jaxdpmm.storage import files

X = np.concatenate([np.random.default_rng(0).normal(5 * k, 1, size=(40, 2)) for k in range(3)])
MIXTURE = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(2), 4)
PRIOR = jaxdpmm.default_prior(MIXTURE, X)
ALGORITHMS = {
    "cavi": jaxdpmm.cavi(MIXTURE, PRIOR),
    "memoized": memoized(MIXTURE, PRIOR),
    "candidates": memoized(MIXTURE, PRIOR, candidates(2, 1)),
    "stochastic": stochastic(MIXTURE, PRIOR),
    "online_em": online_em(MIXTURE, PRIOR),
    "gibbs": gibbs(MIXTURE, PRIOR, keep_labels=True),
}


def run(name="memoized", x=X, *, key=0, **options):
    start = jaxdpmm.initialize(MIXTURE, PRIOR, X, key=jax.random.key(7))
    settings = {"num_epochs": 6, "tolerance": 0.0, "batch_size": 25} | options
    return fit(ALGORITHMS[name], x, start, key=jax.random.key(key), **settings)


def assert_same_bits(left, right):
    chex.assert_trees_all_equal(left.state, right.state)
    chex.assert_trees_all_equal(left.posterior, right.posterior)
    assert [e[:3] for e in left.history] == [e[:3] for e in right.history]
    assert left.converged == right.converged


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_backend_goes_on_to_the_same_bits(name, tmp_path):
    shuffle = name in ("stochastic", "online_em", "memoized")
    whole = run(name, shuffle=shuffle)
    first = run(name, shuffle=shuffle, num_epochs=2, checkpoint=tmp_path)
    second = run(name, shuffle=shuffle, checkpoint=tmp_path)
    assert second.history[:2] == first.history
    assert second.history[2].seconds > first.history[1].seconds
    assert_same_bits(whole, second)
    assert_same_bits(whole, run(name, shuffle=shuffle, checkpoint=tmp_path))
    assert os.listdir(tmp_path) == [checkpoints.FILE_NAME]


def test_checkpoints_come_as_often_as_asked_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    save = checkpoints.Checkpoint.save
    monkeypatch.setattr(
        checkpoints.Checkpoint,
        "save",
        lambda self, progress: (saved.append(len(progress.history)), save(self, progress)),
    )
    run(num_epochs=5, checkpoint=tmp_path, checkpoint_every=2)
    assert saved == [2, 4, 5]
    stopped = run(
        num_epochs=9, checkpoint=tmp_path, checkpoint_every=9, callback=lambda e, _: e.number == 7
    )
    assert saved[3:] == [7]
    assert len(stopped.history) == 7


def test_a_converged_fit_stays_so_and_goes_on_with_less_tolerance(tmp_path):
    loose = run(checkpoint=tmp_path, tolerance=1e6, num_epochs=50)
    assert loose.converged
    again = run(checkpoint=tmp_path, tolerance=1e6, num_epochs=50)
    assert_same_bits(loose, again)
    tight = run(checkpoint=tmp_path, tolerance=0.0, num_epochs=6)
    assert_same_bits(tight, run())


SCRIPT = """
import sys
import jax
import numpy as np
import jaxdpmm
from jaxdpmm.inference.backends.memoized import memoized

def fitted(checkpoint=None):
    x = np.random.default_rng(0).normal(size=(300, 8))
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(8), 8)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    return jaxdpmm.fit(memoized(mixture, prior), x, start, num_epochs=200, tolerance=0.0, batch_size=100, shuffle=True,
                       checkpoint=checkpoint, callback=lambda epoch, _: print(epoch.number, flush=True))

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    result = fitted(sys.argv[1])
    np.savez(sys.argv[2], *jax.tree.leaves(result.state), *[epoch.objective for epoch in result.history])
"""


def start_script(*arguments):
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_kill_9_at_any_moment_loses_nothing(tmp_path):
    generator = np.random.default_rng(0)
    folder, output = tmp_path / "checkpoint", tmp_path / "resumed.npz"
    kills = 0
    for _ in range(2):
        process = start_script(folder, output)
        if (
            process.stdout.readline()
        ):  # a sweep is done; from here on, files are written all the time
            time.sleep(generator.uniform(0, 0.3))
            kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kills
    process = start_script(folder, output)
    process.communicate()
    assert process.returncode == 0
    script = {"__name__": "script"}
    exec(SCRIPT, script)
    whole = script["fitted"]()
    expected = [*jax.tree.leaves(whole.state), *[epoch.objective for epoch in whole.history]]
    resumed = np.load(output)
    assert len(resumed.files) == len(expected) > 200
    for name, leaf in zip(resumed.files, expected, strict=True):
        np.testing.assert_array_equal(resumed[name], leaf)
    left = set(os.listdir(folder))
    assert checkpoints.FILE_NAME in left
    # Killed after making its folder and before it could say that the folder is its own: nothing is in it
    for name in left - {checkpoints.FILE_NAME}:
        assert name.endswith(files.PARTIAL)
        assert not sum(path.stat().st_size for path in (folder / name).iterdir())


def test_a_full_disk_is_one_sentence_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run(num_epochs=2, checkpoint=tmp_path)
    before = (tmp_path / checkpoints.FILE_NAME).read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.numpy, "save_file", full)
        with pytest.raises(
            OSError, match=r"must be writable.*No space left.*untouched: free some"
        ) as error:
            run(checkpoint=tmp_path)
        assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == [checkpoints.FILE_NAME]
    assert (tmp_path / checkpoints.FILE_NAME).read_bytes() == before
    assert_same_bits(run(checkpoint=tmp_path), run())


@needs_mounting
def test_a_disk_that_really_is_full(tmp_path):
    with small_disk(tmp_path, "48k"):
        run(num_epochs=2, checkpoint=tmp_path)
        with contextlib.suppress(OSError), open(tmp_path / "other", "wb", buffering=0) as other:
            while True:
                other.write(bytes(4096))
        with pytest.raises(OSError, match=r"must be writable.*No space left"):
            run(checkpoint=tmp_path)
        (tmp_path / "other").unlink()
        assert_same_bits(run(checkpoint=tmp_path), run())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-100], "cut short"),
        (lambda content: content[:20], "cut short"),
        (lambda content: b"", "cut short"),
        (lambda content: b"not a checkpoint", "something else"),
        (lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:], "SHA-256"),
        (
            lambda content: content.replace(b'format_version\\": 2', b'format_version\\": 9'),
            "version 2, got 9",
        ),
    ],
)
def test_a_damaged_checkpoint_is_named_and_left_alone(damage, message, tmp_path):
    run(num_epochs=2, checkpoint=tmp_path)
    path = tmp_path / checkpoints.FILE_NAME
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run(checkpoint=tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"name": "cavi"}, "algorithm = 'memoized' where this fit has 'cavi'"),
        ({"x": X + 1}, "data = "),
        ({"x": X[:-1]}, "data = "),
        ({"batch_size": 30}, "batch_size = 24 where this fit has 30"),
        ({"key": 1}, "key = "),
        ({"shuffle": True}, "shuffle = False"),
        ({"name": "candidates"}, r"local_step = 'Dense\(\)' where this fit has 'Candidates"),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused_and_left_alone(other, message, tmp_path):
    first = run(num_epochs=2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=message):
        run(**other, checkpoint=tmp_path)
    assert_same_bits(first, run(num_epochs=2, checkpoint=tmp_path))


def test_keys_and_types_in_a_state_come_back(tmp_path):
    state = {"key": jax.random.key(3), "flag": jnp.asarray(True), "labels": jnp.arange(3)}
    sweep = Epoch(1, 2.5, 3, 0.5, {"accepted": [0.5]})
    now = checkpoints.Progress(state, jax.random.key(4), (sweep,))
    checkpoints.Checkpoint(tmp_path, {"a": 1}).save(now)
    zero = {"key": jax.random.key(0), "flag": jnp.asarray(False), "labels": jnp.zeros(3, int)}
    start = checkpoints.Progress(zero, jax.random.key(0), ())
    found = checkpoints.Checkpoint(tmp_path, {"a": 1}).load(start)
    assert found.history == now.history
    for left, right in zip(*map(jax.tree.leaves, (now[:2], found[:2])), strict=True):
        assert jnp.all(left == right)


def test_diagnostics_that_are_not_finite_come_back_as_none(tmp_path):
    sweep = Epoch(1, 2.5, 3, 0.5, {"share": float("nan"), "of": [1.0, float("inf")]})
    now = checkpoints.Progress({"flag": jnp.asarray(True)}, jax.random.key(4), (sweep,))
    checkpoints.Checkpoint(tmp_path, {}).save(now)
    (found,) = checkpoints.Checkpoint(tmp_path, {}).load(now._replace(history=())).history
    assert found == sweep._replace(info={"share": None, "of": [1.0, None]})


def test_leftovers_of_killed_writers_are_removed_and_files_are_not_folders(tmp_path):
    leftover = tmp_path / f".checkpoint.safetensors.1{files.PARTIAL}"  # of an earlier version
    leftover.mkdir()
    (leftover / ".tmp1").write_bytes(b"half")
    long_ago = time.time() - files.MAX_AGE - 60
    for path in (leftover / ".tmp1", leftover):
        os.utime(path, (long_ago, long_ago))
    run(num_epochs=1, checkpoint=tmp_path)
    assert os.listdir(tmp_path) == [checkpoints.FILE_NAME]
    with pytest.raises(ValueError, match="checkpoint must be a folder, got the file"):
        run(checkpoint=tmp_path / checkpoints.FILE_NAME)
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1, got 0"):
        run(checkpoint=tmp_path, checkpoint_every=0)
