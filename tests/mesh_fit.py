"""Small fits, on one device or on a mesh; as a script, one process of several.

python mesh_fit.py OUTPUT NAME[,NAME...] [CHECKPOINT PORT PROCESS NUM_PROCESSES]
"""

import sys

import jax
import numpy as np

import jaxdpmm
from jaxdpmm.inference import ArraySource, dense, fit
from jaxdpmm.inference.backends.memoized import memoized
from jaxdpmm.inference.backends.stochastic import stochastic
from jaxdpmm.inference.data.mesh import ShardedSource, component_sharded, device_mesh, replicated
from jaxdpmm.inference.local_steps.sharded import sharded, sharded_components
from jaxdpmm.inference.local_steps.sparse import candidates

X = np.concatenate([np.random.default_rng(k).normal(4 * k, 1, (67, 3)) for k in range(3)])
WEIGHT = np.random.default_rng(9).uniform(0.5, 2, len(X))
BATCH_SIZE = 80

# Algorithm, family, local step, number of component shards.
CASES = {
    "cavi": (jaxdpmm.cavi, jaxdpmm.GaussianFull, dense, 1),
    "components": (jaxdpmm.cavi, jaxdpmm.GaussianFull, None, 2),
    "candidates": (memoized, jaxdpmm.GaussianDiagonal, candidates(3, 1), 1),
    "stochastic": (stochastic, jaxdpmm.GaussianDiagonal, dense, 1),
}


def problem(name):
    make, family, _, _ = CASES[name]
    mixture = jaxdpmm.Mixture(family(3), 6)
    prior = jaxdpmm.default_prior(mixture, X)
    start = jaxdpmm.initialize(mixture, prior, X, key=jax.random.key(0))
    settings = {"num_epochs": 4, "tolerance": 0.0, "shuffle": make is stochastic}
    return lambda step: make(mixture, prior, local_step=step), mixture, start, settings


def fit_here(name, data, **options):
    """On one device, of whatever data."""
    algorithm, _, start, settings = problem(name)
    return fit(algorithm(CASES[name][2] or dense), data, start, **settings, **options)


def fit_on_mesh(name, part=slice(None), **options):
    """On all devices, this process feeding `part`."""
    algorithm, mixture, start, settings = problem(name)
    _, _, local_step, num_component_shards = CASES[name]
    mesh = device_mesh(num_component_shards)
    source = ArraySource(X[part], mixture.family, WEIGHT[part], batch_size=BATCH_SIZE)
    place = component_sharded if local_step is None else replicated
    step = sharded_components(mesh) if local_step is None else sharded(local_step, mesh)
    data = ShardedSource(source, mesh)
    return fit(algorithm(step), data, place(start, mesh), **settings, **options)


def main(output, names, checkpoint="", port="", process="0", num_processes="1"):
    jax.config.update("jax_enable_x64", True)
    if port:
        jax.distributed.initialize(f"127.0.0.1:{port}", int(num_processes), int(process))
    # Unequal parts, so that one process runs out of points before the others.
    cuts = [0, *np.linspace(90, len(X), int(num_processes)).astype(int)]
    part = slice(cuts[int(process)], cuts[int(process) + 1]) if port else slice(None)
    results = {}
    for name in names.split(","):
        options = {"checkpoint": f"{checkpoint}/{name}"} if checkpoint else {}
        result = fit_on_mesh(name, part, **options)
        for number, leaf in enumerate(jax.tree.leaves(result.posterior)):
            if not leaf.is_fully_replicated:
                results[f"{name}-cut"] = True
                leaf = jax.device_put(leaf, jax.NamedSharding(leaf.sharding.mesh, jax.P()))
            results[f"{name}-{number}"] = np.asarray(leaf)
        results[f"{name}-objective"] = result.history[-1].objective
        results[f"{name}-devices"] = jax.device_count()
    np.savez(f"{output}.{process}", **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
