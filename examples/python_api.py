"""Arrays in, a fitted mixture and anomaly scores out: the library in fifteen lines, on toy data."""

import jax
import numpy as np

import jaxdpmm

random = np.random.default_rng(0)
centres = np.array([[-4, 0], [0, 4], [4, 0]], np.float32)
x = centres[random.integers(3, size=2000)] + 0.5 * random.normal(size=(2000, 2)).astype(np.float32)

mixture = jaxdpmm.Mixture(jaxdpmm.GaussianFull(dim=2), num_components=10)
prior = jaxdpmm.default_prior(mixture, x)
start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
result = jaxdpmm.fit(jaxdpmm.cavi(mixture, prior), x, start, num_epochs=1000, tolerance=1e-6)
mixture, posterior = jaxdpmm.compact(mixture, prior, result.posterior)

new = np.array([[-4, 0], [0, 0], [9, 9]], np.float32)  # usual, between the clusters, far away
scores = jaxdpmm.score(jaxdpmm.scoring.predictive(mixture), posterior, new)
print(f"{len(result.history)} sweeps, {mixture.num_components} of 10 components hold data")
print("anomaly scores (minus log density):", scores.round(2))
