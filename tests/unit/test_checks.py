"""Checks that many functions share."""

import jax
import numpy as np
import pytest

from jaxdpmm import GaussianFull
from jaxdpmm.checks import check_at_least_one, check_key, check_kind


def test_a_count_below_one_is_one_sentence():
    check_at_least_one("num_kept", 1, "the default will do")
    with pytest.raises(
        ValueError, match=r"^num_kept must be at least 1, got 0; the default will do\.$"
    ):
        check_at_least_one("num_kept", 0, "the default will do")
    with pytest.raises(ValueError, match=r"^tile_size must be at least 1 point, got -3; go\.$"):
        check_at_least_one("tile_size", -3, "go", wanted="at least 1 point")
    with pytest.raises(TypeError, match=r"^num_kept must be a whole number, got 2\.5; go\.$"):
        check_at_least_one("num_kept", 2.5, "go")


def test_one_argument_in_the_place_of_another_is_one_sentence():
    check_kind("family", GaussianFull(2), GaussianFull, "give a family")
    with pytest.raises(
        TypeError, match=r"^family must be a GaussianFull, got int; give a family\.$"
    ):
        check_kind("family", 4, GaussianFull, "give a family")


@pytest.mark.parametrize("key", [jax.random.key(0), jax.random.PRNGKey(0)])
def test_keys_of_both_kinds_are_keys(key):
    check_key(key)
    jax.jit(lambda key: check_key(key))(key)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (3, r"got 3; pass key=jax\.random\.key\(3\)"),
        (np.int64(3), r"got .*3.*; pass key=jax\.random\.key\(3\)"),
        (None, r"got None; pass key=jax\.random\.key\(0\)"),
        (np.zeros(2), r"got an array of shape \(2,\); pass"),
        (jax.random.split(jax.random.key(0), 4), r"got an array of shape \(4,\); pass"),
    ],
)
def test_what_is_no_key_is_one_sentence(key, sentence):
    with pytest.raises(TypeError, match=rf"^key must be one random key, {sentence}"):
        check_key(key)
