"""An algorithm says what it is, and `fit` does by that: stopping, keys, labels, checkpoints, compiled code."""

import pickle
import subprocess
import sys

import chex
import jax
import jaxtyping
import numpy as np
import optax
import pytest

import jaxdpmm
from jaxdpmm.inference import (
    ArraySource,
    candidates,
    cavi,
    clustered_prior,
    device_mesh,
    fit,
    gibbs,
    initialize,
    label_switching,
    memoized,
    online_em,
    robbins_monro,
    sharded,
    sharded_components,
    sparse,
    split_merge,
    stochastic,
    with_moves,
)
from jaxdpmm.inference.base import Objective
from jaxdpmm.inference.local_steps.dense import dense

FAMILY = jaxdpmm.GaussianDiagonal(2)
MIXTURE = jaxdpmm.Mixture(FAMILY, 4)
X = np.concatenate([np.random.default_rng(0).normal(5 * k, 1, size=(40, 2)) for k in range(3)])
PRIOR = jaxdpmm.default_prior(MIXTURE, X)
START = jaxdpmm.initialize(MIXTURE, PRIOR, X, key=jax.random.key(7))
HEAVY = PRIOR._replace(component=jax.tree.map(lambda leaf: 50 * leaf, PRIOR.component))
BACKENDS = {
    "cavi": cavi,
    "memoized": memoized,
    "stochastic": stochastic,
    "online_em": online_em,
    "gibbs": gibbs,
    "with_moves": lambda mixture, prior: with_moves(cavi(mixture, prior)),
}
each_backend = pytest.mark.parametrize("name", BACKENDS)


@pytest.fixture
def unchecked():
    """Without the type checks of the tests, which would come first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def run(algorithm, x=X, **options):
    options = {"key": jax.random.key(0), "num_epochs": 3, "tolerance": 0.0} | options
    return fit(algorithm, x, START, **options)


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        (cavi(MIXTURE, PRIOR), cavi(MIXTURE, HEAVY), "prior = "),
        (memoized(MIXTURE, PRIOR), memoized(MIXTURE, HEAVY), "prior = "),
        (cavi(MIXTURE, PRIOR), cavi(MIXTURE, PRIOR, sparse(1)), r"local_step = 'Dense\(\)'"),
        (cavi(MIXTURE, PRIOR, sparse(2)), cavi(MIXTURE, PRIOR, sparse(1)), "local_step = "),
        (
            cavi(MIXTURE, PRIOR, candidates(3, 1)),
            cavi(MIXTURE, PRIOR, candidates(2, 1)),
            "local_step = ",
        ),
        (online_em(MIXTURE, PRIOR, 0.1), online_em(MIXTURE, PRIOR, 0.2), "step_size = "),
        (online_em(MIXTURE, PRIOR), online_em(MIXTURE, PRIOR, ridge=0.1), "ridge = '0.0'"),
        (
            stochastic(MIXTURE, PRIOR),
            stochastic(MIXTURE, PRIOR, robbins_monro(2.0)),
            "step_size = ",
        ),
        (
            stochastic(MIXTURE, PRIOR, optax.exponential_decay(0.5, 10, 0.9)),
            stochastic(MIXTURE, PRIOR, optax.exponential_decay(0.5, 10, 0.8)),
            "step_size = ",
        ),
        (gibbs(MIXTURE, PRIOR), gibbs(MIXTURE, PRIOR, moves=(label_switching(),)), "moves = "),
        (
            gibbs(MIXTURE, PRIOR, moves=(split_merge(1),)),
            gibbs(MIXTURE, PRIOR, moves=(split_merge(2),)),
            "moves = ",
        ),
        (cavi(MIXTURE, PRIOR), with_moves(cavi(MIXTURE, PRIOR)), "algorithm = 'cavi'"),
        (
            with_moves(cavi(MIXTURE, PRIOR), ["merge"]),
            with_moves(cavi(MIXTURE, PRIOR)),
            "moves = ",
        ),
    ],
)
def test_a_checkpoint_of_another_algorithm_is_refused_and_left_alone(
    first, second, differs, tmp_path
):
    run(first, checkpoint=tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"must be of the same fit, .* with {differs}"):
        run(second, num_epochs=6, checkpoint=tmp_path)
    assert file.read_bytes() == before
    assert len(run(first, num_epochs=4, checkpoint=tmp_path).history) == 4


@each_backend
def test_equal_algorithms_made_anew_go_on(name, tmp_path):
    run(BACKENDS[name](MIXTURE, PRIOR), checkpoint=tmp_path)
    resumed = run(BACKENDS[name](MIXTURE, PRIOR), num_epochs=5, tolerance=0.0, checkpoint=tmp_path)
    whole = run(BACKENDS[name](MIXTURE, PRIOR), num_epochs=5, tolerance=0.0)
    chex.assert_trees_all_equal(resumed.state, whole.state)
    assert [e.info for e in resumed.history] == [e.info for e in whole.history]


def test_the_same_fit_goes_on_over_another_mesh(tmp_path):
    mesh = device_mesh()
    first, second = (cavi(MIXTURE, PRIOR, sharded(dense, mesh)) for mesh in (mesh, device_mesh()))
    assert first.identity == second.identity
    assert "Device" not in first.identity.describe()["local_step"]


class Anonymous:
    """A data source that cannot be told from others."""

    def __init__(self, x):
        self._source = ArraySource(x, FAMILY)
        self.num_batches, self.batch_size = self._source.num_batches, self._source.batch_size
        self.total_weight = self._source.total_weight

    def sweep(self, key=None):
        return self._source.sweep(key)


def test_data_that_cannot_be_told_from_others_have_no_checkpoint(tmp_path):
    algorithm = cavi(MIXTURE, PRIOR)
    with pytest.raises(ValueError, match=r"data must have a fingerprint .* got Anonymous without"):
        run(algorithm, Anonymous(X), checkpoint=tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    np.testing.assert_array_equal(
        run(algorithm, Anonymous(X)).posterior.counts, run(algorithm).posterior.counts
    )


def test_a_sampler_makes_all_its_sweeps():
    result = fit(gibbs(MIXTURE, PRIOR), X, START, key=jax.random.key(0), num_epochs=60)
    assert len(result.history) == 60
    assert not result.converged


def test_a_sampler_takes_no_tolerance():
    sentence = "tolerance must be left out, since gibbs draws .*, got 0.001; num_epochs says"
    with pytest.raises(ValueError, match=sentence):
        run(gibbs(MIXTURE, PRIOR), tolerance=1e-3)
    assert len(run(gibbs(MIXTURE, PRIOR), tolerance=0.0).history) == 3


def test_a_sampler_asks_for_a_key():
    with pytest.raises(ValueError, match=r"key must be a random key, since gibbs .* got None"):
        run(gibbs(MIXTURE, PRIOR), key=None)
    one, other = (run(gibbs(MIXTURE, PRIOR), key=jax.random.key(seed)) for seed in (0, 1))
    assert one.history[-1].objective != other.history[-1].objective
    assert len(run(cavi(MIXTURE, PRIOR), key=None).history) == 3


@pytest.mark.usefixtures("unchecked")
def test_what_a_fit_starts_from_is_checked():
    algorithm = cavi(MIXTURE, PRIOR)
    with pytest.raises(
        TypeError, match=r"^algorithm must be an Algorithm, got cavi; make one with a backend"
    ):
        fit(cavi, X, START)
    for arguments in ((algorithm, START, X), (algorithm, X, PRIOR)):
        with pytest.raises(TypeError, match=r"^posterior must be a Posterior, .* in this order\.$"):
            fit(*arguments)
    other = cavi(MIXTURE.__class__(MIXTURE.family, MIXTURE.num_components + 1), PRIOR)
    with pytest.raises(
        ValueError, match=r"^posterior must have the 5 components .*, got 4; initialize it"
    ):
        fit(other, X, START)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "with_moves"])
@pytest.mark.usefixtures("unchecked")
def test_prior_and_mixture_in_each_others_places_are_one_sentence(name):
    backend = BACKENDS[name]
    sentence = (
        rf"mixture must be a Mixture, got Prior; pass mixture and prior to {name} in this order\.$"
    )
    with pytest.raises(TypeError, match=f"^{sentence}"):
        backend(PRIOR, MIXTURE)
    sentence = (
        rf"prior must be a Prior, got Posterior; pass mixture and prior to {name} in this order\.$"
    )
    with pytest.raises(TypeError, match=f"^{sentence}"):
        fit(backend(MIXTURE, START), X, START)


@pytest.mark.usefixtures("unchecked")
def test_other_arguments_in_each_others_places_are_one_sentence():
    """Of what comes before `fit`."""
    with pytest.raises(
        TypeError, match=r"^family must be a Likelihood, got int; pass Mixture\(family, "
    ):
        jaxdpmm.Mixture(4, FAMILY)
    with pytest.raises(TypeError, match=r"^num_components must be a whole number, got 4\.0; start"):
        jaxdpmm.Mixture(FAMILY, 4.0)
    with pytest.raises(TypeError, match=r"^sticks must be a StickBreaking, got DirichletProcess; "):
        jaxdpmm.Mixture(FAMILY, 4, jaxdpmm.DirichletProcess)
    for function, wrong in (
        (jaxdpmm.default_prior, (X, MIXTURE)),
        (initialize, (PRIOR, MIXTURE, X)),
        (clustered_prior, (X, MIXTURE)),
    ):
        sentence = (
            rf"^mixture must be a Mixture, got \w+; call {function.__name__}\(mixture, .* order\.$"
        )
        with pytest.raises(TypeError, match=sentence):
            function(*wrong, **({} if function is jaxdpmm.default_prior else {"key": None}))


@each_backend
def test_algorithms_are_pickled_and_share_compiled_code_with_what_they_were(name):
    algorithm = BACKENDS[name](MIXTURE, PRIOR)
    again = pickle.loads(pickle.dumps(algorithm))
    assert again.identity == algorithm.identity
    assert again[:3] == algorithm[:3]  # the same functions
    jax.tree.map(np.testing.assert_array_equal, again.prior, PRIOR)


def test_local_steps_are_pickled_unless_they_hold_devices():
    algorithm = cavi(MIXTURE, PRIOR, candidates(3, 1))
    assert pickle.loads(pickle.dumps(algorithm)).identity == algorithm.identity
    for step in (sharded(dense, device_mesh()), sharded_components(device_mesh())):
        with pytest.raises(
            TypeError, match=r"^local_step must be without .* on a mesh of 1; pickle"
        ):
            pickle.dumps(cavi(MIXTURE, PRIOR, step))


def test_moves_and_schedules_are_pickled():
    with_all = gibbs(MIXTURE, PRIOR, moves=(label_switching(), split_merge()))
    for algorithm in (with_all, stochastic(MIXTURE, PRIOR, robbins_monro(2.0))):
        again = pickle.loads(pickle.dumps(algorithm))
        assert again.identity == algorithm.identity
        assert again.step is algorithm.step


def test_an_algorithm_goes_to_another_process(tmp_path):
    (tmp_path / "algorithm").write_bytes(pickle.dumps(cavi(MIXTURE, PRIOR)))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).identity.name)"
    command = [sys.executable, "-c", code, str(tmp_path / "algorithm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cavi"


@pytest.mark.usefixtures("unchecked")
def test_a_seed_in_place_of_a_key_is_one_sentence():
    for function, arguments in (
        (fit, (cavi(MIXTURE, PRIOR), X, START)),
        (initialize, (MIXTURE, PRIOR, X)),
        (clustered_prior, (MIXTURE, X)),
    ):
        with pytest.raises(TypeError, match=r"^key must be one random key, got 3; pass key=jax"):
            function(*arguments, key=3)


@pytest.mark.parametrize(
    ("name", "objective", "label"),
    [
        ("cavi", Objective.BOUND, "ELBO "),
        ("memoized", Objective.BOUND, "ELBO "),
        ("with_moves", Objective.BOUND, "ELBO "),
        ("stochastic", Objective.ESTIMATE, "estimated ELBO "),
        ("online_em", Objective.LIKELIHOOD, "log likelihood "),
        ("gibbs", Objective.DRAW, "log likelihood of the draw "),
    ],
)
def test_the_bar_says_what_the_objective_is(name, objective, label, capsys):
    algorithm = BACKENDS[name](MIXTURE, PRIOR)
    result = run(algorithm, num_epochs=2, progress=True)
    assert algorithm.identity.objective is objective
    per_point = result.history[-1].objective / len(X)
    assert f", {label}{per_point:.4f} nats per point, " in capsys.readouterr().err


def test_the_backend_s_own_diagnostics_are_in_the_history():
    assert run(cavi(MIXTURE, PRIOR)).history[0].info == {}
    assert run(gibbs(MIXTURE, PRIOR)).history[0].info == {"accepted": []}
    moved = run(gibbs(MIXTURE, PRIOR, moves=(label_switching(), split_merge()))).history
    assert all(0 <= share <= 1 for epoch in moved for share in epoch.info["accepted"])
    changes = run(with_moves(cavi(MIXTURE, PRIOR))).history[0].info
    assert set(changes) == {"births", "merges", "deletions"}


@each_backend
def test_fits_of_one_shape_compile_once_whatever_their_prior(name):
    jax.clear_caches()
    compiled = []
    for prior in (PRIOR, HEAVY, PRIOR):
        before = _COMPILED[0]
        run(BACKENDS[name](MIXTURE, prior))
        compiled.append(_COMPILED[0] - before)
    assert compiled[0] > 0
    assert compiled[1:] == [0, 0]


_COMPILED = [0]


def _count(event: str, duration: float, **_) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED[0] += 1


jax.monitoring.register_event_duration_secs_listener(_count)
