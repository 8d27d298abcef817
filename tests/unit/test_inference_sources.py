"""Data in every form give the same batches, and one sentence where they cannot."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.inference import fit
from jaxdpmm.inference.backends.stochastic import stochastic
from jaxdpmm.inference.data.arrays import ArraySource, DataSource, prefetched
from jaxdpmm.inference.data.pieces import IterableSource, as_source, sample_source

FAMILY = jaxdpmm.GaussianDiagonal(3)
X = np.random.default_rng(0).normal(size=(50, 3))
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, 50)


def pieces_of(x, *sizes):
    return np.split(x, np.cumsum(sizes))


class Loader:
    """Iterates anew each time, as the loaders of other libraries do."""

    def __iter__(self):
        return iter(pieces_of(X, 1, 30, 0, 4))


def content(source):
    """All points and weights of a sweep, without the padding."""
    batches = list(source.sweep())
    assert [int(b.slot) for b in batches] == list(range(source.num_batches))
    assert [bool(b.is_last) for b in batches] == [False] * (source.num_batches - 1) + [True]
    assert {b.x.shape for b in batches} == {(source.batch_size, 3)}
    x, weight = (np.concatenate([getattr(b, name) for b in batches]) for name in ("x", "weight"))
    return x[weight > 0], weight[weight > 0]


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "data",
    [
        pieces_of(X, 7, 20),
        tuple(pieces_of(X, 49)),
        Loader(),
        lambda: iter(pieces_of(X, 2, 2, 2, 40)),
        lambda: (jnp.asarray(piece) for piece in pieces_of(X, 16, 16, 16)),
        X,
        jnp.asarray(X),
        X.tolist(),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 16, 50, 1000, None])
def test_all_forms_of_data_give_the_same_batches(data, batch_size):
    source = as_source(data, FAMILY, batch_size=batch_size)
    assert isinstance(source, DataSource)
    assert source.total_weight == 50
    assert source.num_batches == -(-50 // min(batch_size or 50, 50))
    assert source.batch_size * source.num_batches - 50 < source.num_batches  # as even as can be
    for _ in range(2):
        x, weight = content(source)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(weight, 1)


def test_a_memory_map_is_streamed_and_not_kept(mapped):
    source = ArraySource(mapped, FAMILY, batch_size=16)
    first, second = (next(source.sweep()).x for _ in range(2))
    assert first is not second
    np.testing.assert_array_equal(content(source)[0], X)
    kept = ArraySource(X, FAMILY, batch_size=16)
    first, second = (next(kept.sweep()).x for _ in range(2))
    assert first is second


def test_weights_come_with_the_pieces():
    pairs = list(zip(pieces_of(X, 20), pieces_of(WEIGHT, 20), strict=True))
    source = IterableSource(pairs, FAMILY, batch_size=16)
    x, weight = content(source)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(weight, WEIGHT)
    assert source.total_weight == pytest.approx(WEIGHT.sum())


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32])
def test_half_precision_is_computed_in_single(dtype):
    for data in (X.astype(dtype), [X.astype(dtype)]):
        batch = next(as_source(data, FAMILY).sweep())
        assert batch.x.dtype == batch.weight.dtype == batch.total.dtype == np.float32


def test_a_key_shuffles_the_batches_and_nothing_else(key):
    source = ArraySource(X, FAMILY, batch_size=4)
    plain = list(source.sweep())
    orders = []
    for number in (0, 0, 1):
        batches = list(source.sweep(jax.random.fold_in(key, number)))
        orders.append([int(b.slot) for b in batches])
        assert [bool(b.is_last) for b in batches] == [False] * 12 + [True]
        for batch in batches:
            np.testing.assert_array_equal(batch.x, plain[int(batch.slot)].x)
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(13)) != orders[2]


def test_fit_shuffles_anew_in_every_sweep_and_repeats_itself(key):
    mixture = jaxdpmm.Mixture(FAMILY, 2)
    prior = jaxdpmm.default_prior(mixture, X)
    start = jaxdpmm.initialize(mixture, prior, X, key=key)

    def counts(shuffle, key):
        result = fit(
            stochastic(mixture, prior),
            X,
            start,
            key=key,
            num_epochs=2,
            batch_size=9,
            shuffle=shuffle,
        )
        return np.asarray(result.posterior.counts)

    np.testing.assert_array_equal(counts(True, key), counts(True, key))
    assert not np.array_equal(counts(True, key), counts(True, jax.random.key(1)))
    np.testing.assert_array_equal(counts(False, key), counts(False, jax.random.key(1)))


def test_cavi_of_pieces_equals_cavi_of_the_array(key, mapped):
    mixture = jaxdpmm.Mixture(FAMILY, 3)
    prior = jaxdpmm.default_prior(mixture, X)
    start = jaxdpmm.initialize(mixture, prior, X, key=key)
    algorithm = jaxdpmm.cavi(mixture, prior)
    whole = fit(algorithm, X, start, num_epochs=4).posterior
    for data in (pieces_of(X, 11, 30), lambda: pieces_of(X, 50), mapped):
        other = fit(algorithm, data, start, num_epochs=4, batch_size=13).posterior
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), whole, other)


def test_initialize_takes_a_source_and_samples_it_evenly(key):
    mixture = jaxdpmm.Mixture(FAMILY, 4)
    prior = jaxdpmm.default_prior(mixture, X)
    source = IterableSource(pieces_of(X, 20), FAMILY, batch_size=16)
    posterior = jaxdpmm.initialize(mixture, prior, source, key=key)
    assert float(posterior.counts.sum()) == pytest.approx(50)
    times = np.zeros(50)
    for number in range(400):
        sample = sample_source(jax.random.fold_in(key, number), source, 10)
        rows = [int(np.flatnonzero((point == X).all(axis=1))[0]) for point in sample]
        assert len(set(rows)) == 10
        assert rows == sorted(rows)
        times[rows] += 1
    # 400 draws of 10 among 50: 80 times each, standard deviation 8.
    assert times.min() > 80 - 32
    assert times.max() < 80 + 32
    with pytest.raises(ValueError, match=r"num_components must not exceed.*60 components for 50"):
        jaxdpmm.initialize(jaxdpmm.Mixture(FAMILY, 60), prior, source, key=key)


def test_prefetching_is_one_item_ahead_and_passes_errors_on():
    made, second_is_made = [], threading.Event()

    def items():
        for number in range(3):
            made.append(number)
            if number == 1:
                second_is_made.set()
            yield number
        raise ValueError("read error")

    stream = prefetched(items())
    assert next(stream) == 0
    assert second_is_made.wait(10)
    assert made == [0, 1]
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="read error"):
        next(stream)


def test_a_generator_is_refused():
    with pytest.raises(ValueError, match=r"iterate over again.*got generator.*pass the function"):
        as_source((piece for piece in pieces_of(X, 9)), FAMILY)


class Fickle:
    """Gives other pieces the second time."""

    def __init__(self, *later):
        self.later = list(later)

    def __iter__(self):
        pieces, self.later = self.later[0], self.later[1:] or self.later
        return iter(pieces)


@pytest.mark.parametrize("later", [[], [X[:20]], [X, X[:1]], [X[:32]]])
def test_pieces_that_change_are_refused(later):
    source = IterableSource(Fickle([X], later), FAMILY, batch_size=16)
    with pytest.raises(ValueError, match=r"same points in every sweep, got \d+ points after 50"):
        list(source.sweep())


def test_bad_pieces_are_named():
    with pytest.raises(ValueError, match=r"x must have shape \(N, 3\).*got \(50, 2\)"):
        as_source([X, X[:, :2]], FAMILY)
    with pytest.raises(ValueError, match="at least one point"):
        as_source(list, FAMILY)
    bad = X.copy()
    bad[30, 1] = np.nan
    with pytest.raises(ValueError, match="first in point 30"):
        as_source(pieces_of(bad, 20), FAMILY)
    with pytest.raises(ValueError, match=r"sample_weight go with an array.*\(points, weights\)"):
        as_source([X], FAMILY, sample_weight=WEIGHT)
    with pytest.raises(ValueError, match="sample_weight and batch_size go with an array"):
        as_source(ArraySource(X, FAMILY), FAMILY, batch_size=3)
    with pytest.raises(ValueError, match="batch_size must be at least 1 point, got 0"):
        as_source([X], FAMILY, batch_size=0)
