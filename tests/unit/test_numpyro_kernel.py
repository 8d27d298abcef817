import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm import Family, GaussianDiagonal, Mixture, Prior, default_prior, initialize
from jaxdpmm.inference.backends import label_switching, split_merge

numpyro_mcmc = pytest.importorskip("numpyro.infer.mcmc")
from jaxdpmm.inference.numpyro.kernel import DPMMGibbs  # noqa: E402

N, K = 60, 5


@pytest.fixture(scope="module")
def x():
    generator = np.random.default_rng(0)
    return generator.normal(size=(N, 2)) + 6 * generator.integers(0, 2, (N, 1))


@pytest.fixture(scope="module")
def problem(x):
    mixture = Mixture(GaussianDiagonal(2), K)
    return mixture, default_prior(mixture, jnp.asarray(x))


def run(kernel, x, num_chains=1, chain_method="sequential", extra_fields=(), **options):
    options = {"num_warmup": 5, "num_samples": 8, "progress_bar": False} | options
    mcmc = numpyro_mcmc.MCMC(kernel, num_chains=num_chains, chain_method=chain_method, **options)
    mcmc.run(jax.random.key(1), x, extra_fields=extra_fields)
    return mcmc


def test_sites_of_one_chain(problem, x):
    samples = run(DPMMGibbs(*problem), x).get_samples()
    shapes = {name: value.shape for name, value in samples.items()}
    assert shapes == {
        "alpha": (8,), "weights": (8, K), "num_occupied": (8,), "log_likelihood": (8,)
    }  # fmt: skip
    np.testing.assert_allclose(samples["weights"].sum(1), 1, rtol=1e-12)
    assert (samples["num_occupied"] >= 2).all()
    assert len(np.unique(samples["alpha"])) == 8


@pytest.mark.filterwarnings("ignore:Some donated buffers:UserWarning")  # NumPyro's, under vmap
@pytest.mark.parametrize(
    "chain_method", ["vectorized", pytest.param(jax.vmap, marks=pytest.mark.slow)]
)
def test_every_chain_method_draws_the_same(problem, x, chain_method):
    start = initialize(*problem, x, key=jax.random.key(0))
    kernel = DPMMGibbs(*problem, start=start)
    reference = run(kernel, x, 2).get_samples(group_by_chain=True)
    samples = run(kernel, x, 2, chain_method).get_samples(group_by_chain=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), reference, samples)
    assert not np.allclose(samples["alpha"][0], samples["alpha"][1])


def test_parallel_chains_on_two_devices():
    """Devices are counted when JAX starts, hence a process of its own."""
    code = """
import warnings
warnings.simplefilter("error")
import numpyro; numpyro.set_host_device_count(2)
import jax, numpy as np
from numpyro.infer import MCMC
from jaxdpmm import GaussianSpherical, Mixture, default_prior
from jaxdpmm.inference.numpyro.kernel import DPMMGibbs
x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
mixture = Mixture(GaussianSpherical(2), 3)
kernel = DPMMGibbs(mixture, default_prior(mixture, x))
options = dict(num_warmup=2, num_samples=4, num_chains=2, progress_bar=False)
mcmc = MCMC(kernel, chain_method="parallel", **options)
mcmc.run(jax.random.key(0), x, extra_fields=("posterior",))
assert mcmc.get_extra_fields()["posterior"].counts.shape == (8, 3)
alpha = mcmc.get_samples(group_by_chain=True)["alpha"]
assert alpha.shape == (2, 4) and not np.allclose(alpha[0], alpha[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_extra_fields_are_posteriors_and_draws(problem, x):
    kernel = DPMMGibbs(*problem, keep_labels=True)
    fields = ("posterior", "labels", "readout.params.mean", "accepted")
    extra = run(kernel, x, 2, extra_fields=fields).get_extra_fields()
    assert extra["posterior"].components.first.shape == (16, K, 2)
    assert extra["readout.params.mean"].shape == (16, K, 2)
    assert extra["accepted"].shape == (16, 0)
    one_hot = np.asarray(extra["labels"])[:, :, None] == np.arange(K)
    np.testing.assert_array_equal(one_hot.sum(1), extra["posterior"].counts)


@pytest.mark.slow
def test_moves_report_what_they_accepted(problem, x):
    kernel = DPMMGibbs(*problem, moves=(label_switching(), split_merge()))
    accepted = run(kernel, x, extra_fields=("accepted",)).get_extra_fields()["accepted"]
    assert accepted.shape == (8, 2)
    assert (accepted[:, 0] > 0).any()
    assert ((accepted >= 0) & (accepted <= 1)).all()


def test_goes_on_after_the_warm_up(problem, x):
    start = initialize(*problem, x, key=jax.random.key(0))
    kernel = DPMMGibbs(*problem, start=start)
    mcmc = numpyro_mcmc.MCMC(kernel, num_warmup=5, num_samples=8, progress_bar=False)
    mcmc.warmup(jax.random.key(1), x)
    assert mcmc.post_warmup_state.sample["num_occupied"] >= 1
    mcmc.run(mcmc.post_warmup_state.rng_key, x)
    whole = run(kernel, x).get_samples()
    np.testing.assert_allclose(mcmc.get_samples()["alpha"], whole["alpha"], rtol=1e-9)


def test_progress_bar(problem, x, capsys, monkeypatch):
    for variable in ("CI", "PYTEST_XDIST_WORKER"):  # with either, NumPyro shows none
        monkeypatch.delenv(variable, raising=False)
    run(DPMMGibbs(*problem), x, progress_bar=True)
    assert "occupied, log likelihood" in capsys.readouterr().err


def test_arviz_reads_the_chains(problem, x):
    arviz = pytest.importorskip("arviz")
    data = arviz.from_numpyro(run(DPMMGibbs(*problem), x, 2, jit_model_args=True))
    assert dict(data.posterior.sizes)["chain"] == 2
    assert data.posterior["weights"].shape == (2, 8, K)
    assert np.isfinite(arviz.summary(data, var_names=["alpha"])["ess_bulk"]).all()


def test_wrong_arguments_are_one_sentence(problem, x):
    kernel = DPMMGibbs(*problem)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 2\).*got \(60, 1\)"):
        run(kernel, x[:, :1])
    with pytest.raises(ValueError, match="x must be finite, got nan or infinity in 1 of 60"):
        run(kernel, np.where(x == x[3, 0], np.nan, x))
    mcmc = numpyro_mcmc.MCMC(kernel, num_warmup=1, num_samples=1, progress_bar=False)
    with pytest.raises(TypeError, match=r"one argument, got 0 arguments and the keywords \['x'\]"):
        mcmc.run(jax.random.key(0), x=x)
    with pytest.raises(ValueError, match="build DPMMGibbs"):
        run(kernel, x, extra_fields=("labels",))


def test_a_family_without_draws_is_one_sentence(x):
    class Exponential(Family):
        def sufficient_statistics(self, x):
            return (x, jnp.ones_like(x))

        def log_partition(self, natural):
            rate, shape = natural
            return jax.scipy.special.gammaln(shape) - shape * jnp.log(rate)

    mixture = Mixture(Exponential(), 2)
    one = jnp.ones(())
    prior = Prior((one, one), mixture.sticks.default_prior(one.dtype))
    with pytest.raises(
        TypeError, match="Exponential cannot be sampled: expected the method sample_params"
    ):
        run(DPMMGibbs(mixture, prior), np.abs(x[:, 0]))
