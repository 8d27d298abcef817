import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm.detection.scores.matching import learn_places, match

MEANS = np.eye(16)[:5] + 0.1


def image(seed, parts=((2, 2),)):
    """Stripes of three components, with parts of two patches that lie a row up or down."""
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(8) % 3, (8, 1))
    for row, column in parts:
        labels[row + generator.integers(2), column : column + 2] = 3, 4
    return MEANS[labels] + 0.02 * generator.normal(size=(8, 8, 16))


@pytest.fixture(scope="module")
def places():
    images = [image(seed) for seed in range(60)]
    return learn_places(jnp.asarray(MEANS), images[:40], images[40:], num_templates=5)


def largest(matches):
    return [float(jnp.max(part)) for part in matches]


def test_a_missing_part_is_found_backward_alone(places):
    normal = np.array([largest(match(places, image(seed))) for seed in range(100, 110)])
    missing = match(places, image(200, parts=()))
    forward, backward = largest(missing)
    assert forward < normal[:, 0].max() + 1
    assert backward > 3 * normal[:, 1].max()
    row, column = np.unravel_index(int(jnp.argmax(missing.backward)), (8, 8))
    assert 1 <= row <= 4
    assert 1 <= column <= 4


def test_a_part_in_a_wrong_place_is_found_forward():
    images = [image(seed) for seed in range(60)]
    few = learn_places(jnp.asarray(MEANS), images[:40], images[40:], num_templates=3)
    found = match(few, image(300, parts=((2, 2), (6, 5))))
    row, column = np.unravel_index(int(jnp.argmax(found.forward)), (8, 8))
    assert row >= 6
    assert column in (5, 6)


def test_templates_are_the_components_of_the_window(places):
    expected = set(np.asarray(places.templates[2, 2]).tolist())
    assert {3, 4} < expected
    far = np.asarray(places.templates[6, 6])
    assert set(far[:3].tolist()) == {0, 1, 2}


def test_bad_input_is_told_in_a_sentence(places):
    means, images = jnp.asarray(MEANS), [image(0), image(1)]
    with pytest.raises(ValueError, match="images of one size, 8 x 8 patches, got 4 x 8; prepare"):
        match(places, image(0)[:4])
    with pytest.raises(ValueError, match="number of images must be at least 1, got 0"):
        learn_places(means, [], images)
    with pytest.raises(ValueError, match="number of held-out images must be at least 1, got 0"):
        learn_places(means, images, [])
    with pytest.raises(ValueError, match="num_templates must be at least 1, got 0"):
        learn_places(means, images, images, num_templates=0)
