"""The nearest rows of some groups, in blocks, against comparing each point with each row."""

import numpy as np
import pytest

from jaxdpmm.detection.banks import grouped
from jaxdpmm.detection.banks.grouped import closest_of_groups

LENGTHS = (0, 1, 63, 64, 65, 200, 0, 3)  # none, fewer than a block has, as many, more
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])


def unit(x):
    return np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))


def one_by_one(rows, x, groups, allowed):
    """Largest cosine of each point with the rows of its groups that count."""
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    counts = (owner[None, None] == groups[:, :, None]).any(axis=1) & allowed[None]
    return np.max(np.where(counts, x @ unit(np.float64(rows)).T, -np.inf), axis=1)


@pytest.mark.parametrize("rows_at_once", [grouped.ROWS_AT_ONCE, 100])  # one reading, and several
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-6), ("float16", 1e-3), ("int8", 1e-6)])
def test_cosines_are_those_of_each_point_with_each_row(monkeypatch, rows_at_once, dtype, atol):
    monkeypatch.setattr(grouped, "ROWS_AT_ONCE", rows_at_once)
    random = np.random.default_rng(0)
    rows, x = (unit(random.normal(size=(number, 5))) for number in (STARTS[-1], 40))
    rows = np.int8(100 * rows) if dtype == "int8" else rows.astype(dtype)
    groups = np.argsort(random.random((len(x), len(LENGTHS))), axis=1)[:, :3]
    groups[:2] = [[0, 6, 0], [1, 5, 5]]  # no rows at all, and one group twice
    for allowed in (np.ones(len(rows), bool), random.random(len(rows)) < 0.1):
        found = closest_of_groups(rows, STARTS, x, groups, allowed)
        np.testing.assert_allclose(found, one_by_one(rows, x, groups, allowed), atol=atol)
        assert found[0] == -np.inf
    assert len(closest_of_groups(rows, STARTS, x[:0], groups[:0])) == 0
