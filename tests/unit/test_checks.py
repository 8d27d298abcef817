"""Checks that many functions share."""

import pytest

from jaxdpmm.checks import check_at_least_one


def test_a_count_below_one_is_one_sentence():
    check_at_least_one("num_kept", 1, "the default will do")
    with pytest.raises(
        ValueError, match=r"^num_kept must be at least 1, got 0; the default will do\.$"
    ):
        check_at_least_one("num_kept", 0, "the default will do")
    with pytest.raises(ValueError, match=r"^tile_size must be at least 1 point, got -3; go\.$"):
        check_at_least_one("tile_size", -3, "go", wanted="at least 1 point")
