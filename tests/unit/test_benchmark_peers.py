"""The peers of the benchmarks, against what their papers say in plain NumPy."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import peers
import quality

from jaxdpmm.detection import DetectorConfig, compile_scorer
from jaxdpmm.detection.banks import memory_bank

GRIDS = ((4, 6), (5, 5))


@pytest.fixture(scope="module")
def learned():
    random = np.random.default_rng(0)
    features = random.normal(size=(sum(h * w for h, w in GRIDS), 96)).astype(np.float32)
    queries = features[:20] + np.float32(0.3) * random.normal(size=(20, 96)).astype(np.float32)
    return peers.Learned(features, GRIDS, queries, 7, 0)


def test_neighbourhood_means_are_over_what_there_is():
    grid = np.arange(12.0).reshape(3, 4, 1)
    found = peers.neighbourhood_mean(grid)
    assert found[1, 1, 0] == grid[:3, :3].mean()
    assert found[0, 0, 0] == grid[:2, :2].mean()
    assert found[2, 1, 0] == grid[1:, :3].mean()


def test_patchcore_keeps_a_share_and_takes_weight_off_the_largest_distance(learned):
    peer = peers.patchcore(0.5, learned)
    assert peer.fitted.num_rows == round(0.5 * len(learned.features))
    image = learned.queries.reshape(4, 5, 96)
    scores = peer.fitted.score_patches(image[None])[0]
    assert scores.shape == (4, 5)
    assert 0 < peer.image_score(image, scores) < scores.max()


def test_reweighting_is_equation_7():
    rows = np.array([[0.0, 0], [1, 0], [0, 2], [9, 9]])
    x = np.array([[0.0, -1], [0.0, 0.1]])
    scores = np.array([1.0, 0.1])
    around = np.exp(
        [1, np.sqrt(2), 3]
    )  # distances of the farther point to the row, and the two next to that
    expected = (1 - np.exp(1) / around.sum()) * 1.0
    assert peers.reweighted(x, scores, rows) == pytest.approx(expected)


def test_a_bank_in_nats_has_the_order_of_the_bank(learned):
    more = np.random.default_rng(2).normal(size=(200, learned.features.shape[1]))
    peer = peers.bank_in_nats(learned._replace(queries=more.astype(np.float32)))
    new = 2 * more[::-1][:60].reshape(6, 10, -1).astype(np.float32)
    plain = np.asarray(compile_scorer(memory_bank(), learned.features)(new))
    scores = peer.fitted.score_patches(new)
    assert scores.shape == (6, 10)
    order = np.argsort(plain, axis=None)
    assert np.diff(scores.ravel()[order]).min() >= 0
    assert scores.min() >= 0
    assert scores.max() <= peer.image_score(new, scores) * 1.001  # one patch of 60


@pytest.mark.parametrize("name", ["coreset-10", "k-means-equal"])
def test_few_rows(learned, name):
    peer = peers.PEERS[name](learned)
    assert peer.fitted.num_rows == {"coreset-10": 5, "k-means-equal": 7}[name]
    assert peer.fitted.score_patches(learned.queries).shape == (20,)


def test_a_search_is_set_by_its_recall(learned):
    peer = peers.hnsw(0.95, learned)
    assert peer.extras["recall"] >= 0.95
    assert peer.extras["settings"]["efSearch"] >= 1


def test_the_smallest_setting_that_reaches_is_found():
    for most in (1, 5, 64):
        for threshold in range(1, most + 1):
            assert peers.smallest(lambda value, least=threshold: value >= least, most) == threshold
        assert peers.smallest(lambda value: False, most) is None


def test_recall_is_of_rows_whatever_the_search_says_of_their_distance(learned):
    class Wrong:
        """Distances in few bits, and nothing found for the last query."""

        def search(self, queries, num_neighbours):
            units = learned.features / np.linalg.norm(learned.features, axis=1, keepdims=True)
            found = np.argmax(queries @ units.T, axis=1)
            found[-1] = -1
            found[0] = (found[0] + 1) % len(units)
            return np.zeros((20, 1)), found[:, None]

    units = [
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (learned.queries, learned.features)
    ]
    exact = 1 - (units[0] @ units[1].T).max(axis=1)
    assert peers._recall(Wrong(), learned, exact) == pytest.approx(18 / 20)


def test_an_index_is_built_once_for_its_recalls_and_anew_for_other_features(learned):
    first = peers._faiss_index("HNSW32,Flat", learned)
    assert peers._faiss_index("HNSW32,Flat", learned) is first
    others = learned._replace(features=learned.features.copy())
    assert peers._faiss_index("HNSW32,Flat", others) is not first


def test_a_run_goes_on_from_a_file_that_lacks_a_newer_setting_and_from_no_other(tmp_path):
    settings = quality.plain(DetectorConfig(num_components=7))
    file = tmp_path / "known.json"
    older = {name: value for name, value in settings.items() if name != "join"}
    file.write_text(json.dumps({"config": older, "records": [{"seed": 0}]}))
    assert quality.known_records(file, settings) == [{"seed": 0}]
    assert quality.known_records(tmp_path / "none.json", settings) == []
    with pytest.raises(SystemExit, match="a new file or one of the same settings"):
        quality.known_records(file, settings | {"join": "mean"})
