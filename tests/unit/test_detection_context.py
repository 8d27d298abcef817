import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxdpmm.detection.scores.context import (
    LearnedContext,
    Ring,
    choose_context,
    context_scores,
    count_context,
    log_context,
    nearest_component,
    prepare_context,
    ring_apart,
    without,
)
from jaxdpmm.families import GaussianSpherical
from jaxdpmm.model import Mixture, default_prior, global_update, summarize
from jaxdpmm.scoring import score

NUM_COMPONENTS = 4


def chain(transition, length, seed):
    """Labels of a stationary Markov chain, an image of one row."""
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(transition, axis=1)
    labels = [0]
    for draw in generator.random(length - 1):
        labels.append(int(np.searchsorted(cumulative[labels[-1]], draw)))
    return np.array(labels)[None]


@pytest.fixture(scope="module")
def reversible():
    """Weights of edges between components; transitions in proportion to them look alike in both directions."""
    generator = np.random.default_rng(3)
    weights = generator.random((NUM_COMPONENTS, NUM_COMPONENTS)) ** 2
    return weights + weights.T


def banded(seed=0):
    """Components in bands of two columns, one patch in ten of another component that is at home anywhere."""
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(8) // 2, (8, 1))
    return np.where(generator.random(labels.shape) < 0.1, 4, labels)


def test_the_conditional_of_a_markov_field_is_learned(reversible):
    transition = reversible / reversible.sum(axis=1, keepdims=True)
    context = count_context([chain(transition, 60_000, 0)], NUM_COMPONENTS)
    model = prepare_context(LearnedContext(context, exponent=1.0))
    for left in range(NUM_COMPONENTS):
        for right in range(NUM_COMPONENTS):
            expected = reversible[left] * transition[:, right]
            found = np.exp(log_context(model, np.array([[left, 0, right]]))[1])
            np.testing.assert_allclose(found, expected / expected.sum(), atol=0.02)


def test_probabilities_are_those_of_the_dirichlet_multinomial():
    labels = np.random.default_rng(0).integers(NUM_COMPONENTS, size=(5, 6))
    context = count_context([labels], NUM_COMPONENTS)
    found = log_context(
        prepare_context(LearnedContext(context, concentration=3.0, exponent=0.5)), labels
    )
    pairs = context.pairs.toarray()
    prior = 3.0 * (pairs.sum(0) + 1 / NUM_COMPONENTS) / (pairs.sum() + 1)
    shares = (context.centres + 1 / NUM_COMPONENTS) / (labels.size + 1)
    for place, (row, column) in enumerate(np.ndindex(labels.shape)):
        near = labels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].ravel()
        ring = np.bincount(near, minlength=NUM_COMPONENTS)
        ring[labels[row, column]] -= 1
        logs = [
            np.log(shares[k])
            + 0.5 * stats.dirichlet_multinomial.logpmf(ring, prior + pairs[k], ring.sum())
            for k in range(NUM_COMPONENTS)
        ]
        expected = logs - np.logaddexp.reduce(logs)
        np.testing.assert_allclose(found[place], expected, atol=1e-4)


def test_a_normal_patch_in_a_wrong_place_is_found_by_context_alone():
    images = [banded(seed) for seed in range(30)]
    model = prepare_context(choose_context(count_context(images[:20], 5), images[20:]))
    odd = banded(100)
    odd[4, 2] = 3  # at home two bands further right, and as frequent as any
    odd[2, 6] = 4  # at home anywhere
    scores = context_scores(model, odd)
    assert np.unravel_index(np.argmax(scores), scores.shape) == (4, 2)
    assert scores[4, 2] > scores[2, 6] + 1


def test_a_part_of_many_patches_in_a_wrong_place_is_odd_to_what_is_apart_from_it_alone():
    """Its own patches are all that its inner ones have next to them."""
    half = np.random.default_rng(0).integers(2, size=(9, 24, 24))
    images = list(half + 2 * (np.arange(24) >= 12))  # two kinds on the left, two on the right
    odd = images[8].copy()
    part = np.s_[9:14, 3:8]
    odd[part] = images[8][9:14, 16:21]
    is_odd = np.zeros(odd.shape, bool)
    is_odd[part] = True

    def scores_by(ring):
        context = count_context(images[:6], 4, ring)
        model = prepare_context(choose_context(context, images[6:8], ring))
        return context_scores(model, odd)

    assert ring_apart(images) == Ring(3, 6)
    apart, next_to_it = scores_by(ring_apart(images)), scores_by(Ring(1, 1))
    assert apart[is_odd].min() > np.quantile(apart[~is_odd], 0.9)
    assert next_to_it[is_odd].min() < np.median(next_to_it[~is_odd])


def test_rings_are_unordered_so_that_rotated_images_score_alike():
    model = prepare_context(LearnedContext(count_context([banded(0), banded(1)], 5), Ring(1, 2)))
    scores = context_scores(model, banded(2))
    turned = context_scores(model, np.rot90(banded(2)))
    np.testing.assert_allclose(turned, np.rot90(scores), rtol=1e-4)


def test_the_patch_itself_is_masked_out():
    model = prepare_context(LearnedContext(count_context([banded(0)], 5), Ring(1, 1)))
    labels, other = banded(1), banded(1)
    other[3, 3] = (other[3, 3] + 1) % 5
    place = 3 * labels.shape[1] + 3
    np.testing.assert_array_equal(
        log_context(model, labels)[place], log_context(model, other)[place]
    )


def test_the_component_of_a_patch_is_that_of_the_nearest_mean():
    """Of those that hold data: the mean of the fifth, the prior's, is where patches are too."""
    means, labels = 3 * np.eye(4), np.random.default_rng(0).integers(4, size=30)
    x = means[labels] + 0.1 * np.random.default_rng(1).normal(size=(30, 4))
    mixture = Mixture(GaussianSpherical(4), 5)
    prior = default_prior(mixture, x)
    stats = summarize(mixture, jnp.eye(5)[labels], jnp.asarray(x), jnp.ones(30), prior.offset)
    posterior = global_update(mixture, prior, stats)
    near = x.mean(0) + 0.1 * np.random.default_rng(2).normal(size=(5, 4))
    np.testing.assert_array_equal(score(nearest_component(mixture), posterior, x), labels)
    assert set(score(nearest_component(mixture), posterior, near).tolist()) <= {0, 1, 2, 3}


def test_counts_add_up_over_images_and_subtract():
    images = [banded(seed) for seed in range(3)]
    whole, part, rest = (
        count_context(some, 5, Ring(2, 3)) for some in (images, images[:1], images[1:])
    )
    np.testing.assert_array_equal((part.pairs + rest.pairs).toarray(), whole.pairs.toarray())
    left = without(whole, part)
    assert left.pairs.nnz == rest.pairs.nnz
    np.testing.assert_array_equal(left.pairs.toarray(), rest.pairs.toarray())
    np.testing.assert_array_equal(left.centres, rest.centres)


def test_thousands_of_components_need_no_dense_table():
    labels = np.random.default_rng(0).integers(5000, size=(30, 30))
    model = prepare_context(LearnedContext(count_context([labels], 5000)))
    assert sum(one.data.nbytes for one in model.logs) < 1e6
    assert context_scores(model, labels).shape == (30, 30)


def test_an_image_of_one_patch_has_the_share_of_its_component():
    model = prepare_context(LearnedContext(count_context([banded(0)], 5)))
    shares = np.exp(log_context(model, np.array([[2]]))[0])
    expected = (np.bincount(banded(0).ravel(), minlength=5) + 0.2) / (banded(0).size + 1)
    np.testing.assert_allclose(shares, expected, rtol=1e-5)


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(ValueError, match="inner must be at least 1, got 0; the patch itself"):
        count_context([banded()], 5, Ring(0, 1))
    with pytest.raises(
        ValueError, match="number of patches of a context must be at least 1, got 0"
    ):
        prepare_context(LearnedContext(count_context([], 5)))
    with pytest.raises(ValueError, match="number of held-out images must be at least 1, got 0"):
        choose_context(count_context([banded()], 5), [])
