"""Online EM against a transcription of arXiv 2509.19997 in NumPy, written from its equations alone."""

import jax
import numpy as np
import pytest
from scipy.special import digamma, logsumexp
from scipy.stats import multivariate_normal

from jaxdpmm import GaussianDiagonal, GaussianFull, GaussianSpherical, Mixture
from jaxdpmm.inference import ArraySource
from jaxdpmm.inference.paper import paper_preset, paper_start

pytestmark = pytest.mark.optimised

K, D, BATCH, GAMMA = 6, 3, 100, 0.2


def patches():
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, D)) * 5
    return centres[random.integers(0, 4, 1000)] + 0.5 * random.normal(size=(1000, D))


class Paper:
    """Steps 1 to 5 of one batch; s, m and S are the running averages."""

    def __init__(self, s, m, second, alpha, structure, eps):
        self.s, self.m, self.second, self.alpha = s, m, second, alpha
        self.structure, self.eps = structure, eps
        self.v = self.fractions()

    def fractions(self):
        v = self.s / (self.s + (self.alpha - 1) / BATCH + self.rest())
        v[-1] = 1
        return v

    def rest(self):
        return np.append(np.cumsum(self.s[::-1])[::-1][1:], 0)

    def covariance(self, k):
        mean, second = self.m[k] / self.s[k], self.second[k] / self.s[k]
        if self.structure is GaussianFull:
            return second - np.outer(mean, mean) + self.eps * np.eye(D)
        variance = np.diag(second) - mean**2
        if self.structure is GaussianSpherical:
            variance = np.full(D, variance.mean())
        return np.diag(variance + self.eps)

    def step(self, x):
        log_w = np.log(self.v) + np.append(0, np.cumsum(np.log1p(-self.v[:-1])))
        log_p = [
            multivariate_normal(self.m[k] / self.s[k], self.covariance(k)).logpdf(x)
            for k in range(K)
        ]
        joint = log_w + np.stack(log_p, 1)
        r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        new = r.mean(0), r.T @ x / len(x), np.einsum("nk,nd,ne->kde", r, x, x) / len(x)
        self.s, self.m, self.second = (
            (1 - GAMMA) * old + GAMMA * now
            for old, now in zip((self.s, self.m, self.second), new, strict=True)
        )
        self.v, rest = self.fractions(), self.rest()
        terms = digamma(BATCH * (self.s + rest) + self.alpha + 1)
        terms = terms - digamma(BATCH * rest + self.alpha)
        self.alpha = (K - 1) / terms[:-1].sum()
        return logsumexp(joint, axis=1).sum()


def second_moments(components, family, structure):
    """The start's S as whole matrices; a sphere's trace is spread so that its mean variance is kept."""
    means, counts = np.asarray(components.first), np.asarray(components.mean_count)[:, None]
    second = np.asarray(components.second)
    if structure is GaussianFull:
        return second
    if structure is GaussianDiagonal:
        return np.stack([np.diag(row) for row in second])
    trace = second - (means**2 / counts).sum(1)
    spread = (trace / family.dim)[:, None] + means**2 / counts
    return np.stack([np.diag(row) for row in spread])


@pytest.mark.parametrize(
    ("structure", "eps"),
    [(GaussianFull, 1e-3), (GaussianDiagonal, 1e-6), (GaussianSpherical, 1e-6)],
)
def test_every_step_is_the_papers(structure, eps, key):
    x, family = patches(), structure(D)
    mixture = Mixture(family, K)
    algorithm, prior = paper_preset(mixture)
    start = paper_start(mixture, prior, x, key=key, batch_size=BATCH)
    second = second_moments(start.components, family, structure)
    paper = Paper(
        np.asarray(start.counts) / BATCH,
        np.asarray(start.components.first) / BATCH,
        second / BATCH,
        2.0,
        structure,
        eps,
    )
    state, step = algorithm.init(start), jax.jit(algorithm.step)
    for _ in range(3):
        log_likelihood = 0
        for batch in ArraySource(x, family, batch_size=BATCH).sweep():
            log_likelihood += paper.step(np.asarray(batch.x))
            state, info = step(key, state, batch)
            alpha = state.posterior.sticks.concentration
            np.testing.assert_allclose(state.posterior.counts / BATCH, paper.s, atol=1e-10)
            np.testing.assert_allclose(state.stats.components.first / BATCH, paper.m, atol=1e-9)
            np.testing.assert_allclose(alpha.shape / alpha.rate, paper.alpha, rtol=1e-9)
        np.testing.assert_allclose(info.objective, log_likelihood, rtol=1e-9)
