"""A bank cut over four devices gives the scores of one that lies on one."""

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jaxdpmm.detection.banks import memory_bank, sharded_memory_bank
from jaxdpmm.inference.data.mesh import device_mesh

random = np.random.default_rng(0)
bank, x = (random.normal(size=(number, 6)).astype(np.float32) for number in (101, 30))
found = {}
for metric, num_neighbours in (("cosine", 1), ("euclidean", 3)):
    scorers = memory_bank(metric, num_neighbours, 8), sharded_memory_bank(device_mesh(), metric, num_neighbours, 8)
    for name, scorer in zip(("one", "many"), scorers):
        params = jax.jit(scorer.prepare)(jnp.asarray(bank))
        found[f"{metric}-{name}"] = jax.jit(scorer.score)(params, x)
    found[f"{metric}-devices"] = len(params.rows.sharding.device_set)
    found[f"{metric}-cut"] = not params.rows.is_fully_replicated
np.savez(sys.argv[1], **found)
"""


def test_four_devices_score_as_one_does(tmp_path):
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "found.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    for metric in ("cosine", "euclidean"):
        assert found[f"{metric}-devices"] == 4
        assert found[f"{metric}-cut"]
        np.testing.assert_allclose(found[f"{metric}-many"], found[f"{metric}-one"], atol=1e-6)
