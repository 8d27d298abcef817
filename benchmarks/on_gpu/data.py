"""Points about centres on the sphere, drawn on the device: a million of them would take NumPy ten seconds.

Read `fits.py` next.
"""

import functools

import jax
import jax.numpy as jnp

SPREAD = 0.003  # of unit-norm patch features within a cluster


@functools.lru_cache(maxsize=1)  # 1.5 GB where there are a million
def clusters(num_points: int, dim: int, num_clusters: int) -> tuple[jax.Array, jax.Array]:
    """Unit-norm points (N, D) and the cluster of each (N,), float32 and int32."""
    return _draw(num_points, dim, num_clusters)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(num_points: int, dim: int, num_clusters: int) -> tuple[jax.Array, jax.Array]:
    key_centres, key_labels, key_noise = jax.random.split(jax.random.key(0), 3)
    centres = _on_sphere(jax.random.normal(key_centres, (num_clusters, dim)))
    labels = jax.random.randint(key_labels, (num_points,), 0, num_clusters)
    noise = SPREAD * jax.random.normal(key_noise, (num_points, dim))
    return _on_sphere(centres[labels] + noise), labels


def _on_sphere(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)
