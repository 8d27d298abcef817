"""One device, eight, or several processes: the same posterior."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import mesh_fit
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.base import Layout
from jaxdpmm.inference.data.mesh import ShardedSource, device_mesh
from jaxdpmm.inference.local_steps.sharded import sharded_components

SCRIPT = pathlib.Path(mesh_fit.__file__)


def start(num_devices, *arguments):
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(processes):
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert not any(process.returncode for process in processes), "\n".join(errors)


def assert_equal(found, name, expected):
    for number, leaf in enumerate(jax.tree.leaves(expected.posterior)):
        np.testing.assert_allclose(found[f"{name}-{number}"], leaf, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(
        found[f"{name}-objective"], expected.history[-1].objective, rtol=1e-10
    )


def weighted(name):
    return mesh_fit.fit_here(
        name, mesh_fit.X, sample_weight=mesh_fit.WEIGHT, batch_size=mesh_fit.BATCH_SIZE
    )


def test_eight_devices_give_the_posterior_of_one(tmp_path):
    finish([start(8, tmp_path / "out", ",".join(mesh_fit.CASES))])
    found = np.load(tmp_path / "out.0.npz")
    assert "components-cut" in found
    assert "cavi-cut" not in found
    for name in mesh_fit.CASES:
        assert found[f"{name}-devices"] == 8
        assert_equal(found, name, weighted(name))


@pytest.mark.parametrize("num_processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_that_feed_their_own_rows_give_the_posterior_of_one(num_processes, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ["components"] if num_processes == 2 else ["components", "cavi"]
    for _ in range(2):  # the second time from the checkpoint of the first
        finish(
            [
                start(2, tmp_path / "out", ",".join(names), tmp_path, port, process, num_processes)
                for process in range(num_processes)
            ]
        )
        files = [np.load(tmp_path / f"out.{process}.npz") for process in range(num_processes)]
        for name in names:
            expected = weighted(name)
            for found in files:
                assert found[f"{name}-devices"] == 2 * num_processes
                assert_equal(found, name, expected)


def test_a_mesh_of_one_device_changes_nothing():
    for name in ("cavi", "candidates"):
        one, other = weighted(name).posterior, mesh_fit.fit_on_mesh(name).posterior
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), one, other)


def test_a_sharded_source_samples_its_points_and_keeps_its_place(key):
    family = jaxdpmm.GaussianDiagonal(3)
    source = ShardedSource(ArraySource(mesh_fit.X, family, batch_size=50), device_mesh())
    sample = source.sample(key, 20)
    assert len(np.unique(sample, axis=0)) == 20
    assert all((point == mesh_fit.X).all(axis=1).any() for point in sample)
    first, second = (next(source.sweep()).x for _ in range(2))
    assert first is second


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="num_component_shards must divide the 1 devices, got 2"):
        device_mesh(2)
    mesh = jax.sharding.AbstractMesh((1, 4), ("data", "components"))
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(3), 6)
    with pytest.raises(ValueError, match="num_components must be a multiple of the 4 component"):
        sharded_components(mesh).init(mixture, Layout())
