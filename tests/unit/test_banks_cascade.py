"""A bank by way of a mixture, against the exact bank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdpmm
from jaxdpmm.detection.banks import cascade_bank, memory_bank, write_cascade
from jaxdpmm.scoring import cosine, score

DIM, NUM_COMPONENTS = 16, 12


@functools.cache
def problem():
    """A mixture, its posterior, the patches that it was fitted to, and two images."""
    random = np.random.default_rng(0)
    centres = 3 * random.normal(size=(NUM_COMPONENTS, DIM))
    x = np.float32(
        centres[random.integers(NUM_COMPONENTS, size=900)] + random.normal(size=(900, DIM))
    )
    images = np.float32(centres[random.integers(NUM_COMPONENTS, size=(2, 6, 10))])
    images += np.float32(1.5 * random.normal(size=images.shape))
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianSpherical(DIM), NUM_COMPONENTS)
    prior = jaxdpmm.default_prior(mixture, x)
    return mixture, jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0)), x, images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    mixture, posterior, x, _ = problem()
    path = tmp_path_factory.mktemp("cascade")
    for dtype in ("float32", "float16", "int8"):
        write_cascade(path / dtype, x, mixture, posterior, dtype)
    return path


def exact():
    _, _, x, images = problem()
    return score(memory_bank(), jnp.asarray(x), images.reshape(-1, DIM)).reshape(images.shape[:3])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("int8", 1e-2)]
)
def test_where_all_is_searched_it_is_the_exact_bank(folder, dtype, tolerance):
    mixture, posterior, x, images = problem()
    bank = cascade_bank(folder / dtype, mixture, posterior, share=1, num_components=NUM_COMPONENTS)
    np.testing.assert_allclose(bank.score_patches(images), exact(), atol=tolerance)
    assert bank.num_rows == len(x)
    size = (folder / dtype / "rows.npy").stat().st_size
    assert size == x.size * np.dtype(dtype).itemsize + 128


def test_suspicious_patches_have_the_distance_of_the_bank_and_others_that_of_the_mixture(folder):
    mixture, posterior, x, images = problem()
    bank = cascade_bank(folder / "float32", mixture, posterior, share=0.1, num_components=3)
    first = score(cosine(mixture), posterior, images.reshape(-1, DIM)).reshape(images.shape[:3])
    found, of_bank = bank.score_patches(images), exact()
    kept = np.isclose(found, bank.scale * first, rtol=1e-5)
    assert first[kept].max() < first[~kept].min()
    assert np.mean(np.abs(found[~kept] - of_bank[~kept]) < 1e-6) > 0.95
    assert np.mean(score(cosine(mixture), posterior, x) >= first[~kept].min()) < 0.2


def test_the_score_of_a_patch_does_not_depend_on_others(folder):
    mixture, posterior, _, images = problem()
    bank = cascade_bank(folder / "int8", mixture, posterior)
    alone = bank.score_patches(images[0, 0])
    np.testing.assert_allclose(alone, bank.score_patches(images)[0, 0], rtol=1e-5)


def test_mistakes_are_one_sentence(folder, tmp_path):
    mixture, posterior, x, _ = problem()
    with pytest.raises(ValueError, match="dtype must be one of float32, float16, int8 and feat"):
        write_cascade(tmp_path, x, mixture, posterior, "int4")
    with pytest.raises(ValueError, match=r"got 'float16' and \(900, 3\)"):
        write_cascade(tmp_path, x[:, :3], mixture, posterior)
    with pytest.raises(FileNotFoundError, match=r"without index\.npz; write it first"):
        cascade_bank(tmp_path, mixture, posterior)
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got 0"):
        cascade_bank(folder / "int8", mixture, posterior, share=0)
    with pytest.raises(ValueError, match="num_components must be at least 1, got 0"):
        cascade_bank(folder / "int8", mixture, posterior, num_components=0)
    few = jaxdpmm.Mixture(mixture.family, 2)
    start = jaxdpmm.initialize(few, jaxdpmm.default_prior(few, x), x, key=jax.random.key(0))
    with pytest.raises(ValueError, match="of a mixture of 2 components in 16 dimensions, got 12"):
        cascade_bank(folder / "int8", few, start)
