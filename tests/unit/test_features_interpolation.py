"""Position embedding resizing against torch, and its invariants without torch."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdpmm.features.interpolation import resize_matrix, resize_position_embeddings

PAIRS = [(37, 16), (37, 32), (37, 37), (37, 44), (37, 7), (5, 9), (4, 1)]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("num_in", "num_out"), PAIRS)
def test_rows_sum_to_one_and_mirror(num_in, num_out, antialias):
    matrix = resize_matrix(num_in, num_out, antialias=antialias)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_matrix_of_two_to_four_by_hand():
    # The samples lie at -1/4, 1/4, 3/4 and 5/4; Keys' kernel with a = -3/4 at distances 1/4, 3/4, 5/4, 7/4.
    near, middle, far, farther = 0.87890625, 0.26171875, -0.10546875, -0.03515625
    first = [near + middle + farther, far]  # the border is repeated to the left
    second = [near + far, middle + farther]
    expected = [first, second, second[::-1], first[::-1]]
    np.testing.assert_allclose(resize_matrix(2, 4, antialias=False), expected, atol=1e-6)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("num_in", "num_out"), PAIRS)
def test_matrix_equals_torch(num_in, num_out, antialias):
    torch = pytest.importorskip("torch")
    columns = torch.eye(num_in)[None, :, :, None].repeat(1, 1, 1, 3)  # one unit vector per channel
    theirs = torch.nn.functional.interpolate(
        columns, size=(num_out, 3), mode="bicubic", align_corners=False, antialias=antialias
    )[0, :, :, 0].T
    ours = resize_matrix(num_in, num_out, antialias=antialias)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_native_grid_is_returned_unchanged_and_class_token_never_changes():
    embeddings = jnp.asarray(np.random.default_rng(0).standard_normal((1, 1 + 9, 5)), jnp.float32)
    same = resize_position_embeddings(embeddings, 3, 3, antialias=True)
    np.testing.assert_array_equal(same, embeddings)
    other = resize_position_embeddings(embeddings, 2, 7, antialias=False)
    assert other.shape == (1, 1 + 14, 5)
    np.testing.assert_array_equal(other[:, 0], embeddings[:, 0])


def test_rows_and_columns_are_not_confused():
    rows = np.repeat(np.arange(3.0), 3)  # the value of a patch is its row
    embeddings = jnp.asarray(np.concatenate([[9.0], rows])[None, :, None], jnp.float32)
    grid = resize_position_embeddings(embeddings, 6, 2, antialias=False)[0, 1:, 0].reshape(6, 2)
    np.testing.assert_allclose(grid[:, 0], grid[:, 1], atol=1e-6)
    assert (np.diff(grid[:, 0]) > 0).all()
