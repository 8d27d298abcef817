"""Files of features in place of images: what is read, which geometry follows, what is refused."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, surface

from jaxdpmm.images.feature_arrays import is_feature_file, number_of_images
from jaxdpmm.images.geometry import Frame
from jaxdpmm.images.layouts import open_data_set, read_folder, read_images
from jaxdpmm.images.reading import mask_of, pixels_of


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write_facts(folder, **facts):
    (folder / "features.json").write_text(json.dumps({"name": "tiny", **facts}))


def test_an_archive_holds_features_and_facts(tmp_path):
    values = features(3, 4, 8)
    np.savez(tmp_path / "a.npz", features=values, name="tiny", image_size=(60, 80))
    (record,) = read_images(tmp_path / "a.npz")
    found = record.source.load()
    np.testing.assert_array_equal(found.features, values)
    assert found.frame == Frame((60, 80), (3, 4), (0, 0), (3, 4), 1)
    assert found.frame.box_of(1, 3) == (20, 60, 40, 80)
    assert record.source.facts().full_name == "tiny"
    np.testing.assert_array_equal(pixels_of(record), np.full((60, 80, 3), 0.5, np.float32))
    assert mask_of(record) is None


def test_facts_of_a_folder_hold_for_all_below_and_those_of_a_file_go_before(tmp_path):
    facts = {"image_size": [100, 120], "resized": [50, 60], "patch_size": 10}
    write_facts(tmp_path, preprocessing="centre crop", **facts)
    folder = tmp_path / "train" / "good"
    folder.mkdir(parents=True)
    np.save(folder / "a.npy", features(4, 4, 8))
    np.savez(folder / "b.npz", features=features(5, 6, 8).astype(np.float64), name="other")
    first, second = read_folder(tmp_path / "train")
    assert first.source.load().frame == Frame((100, 120), (50, 60), (5, 10), (40, 40), 10)
    assert second.source.load().frame == Frame((100, 120), (50, 60), (0, 0), (50, 60), 10)
    assert second.source.load().features.dtype == np.float32
    assert [r.source.facts().full_name for r in (first, second)] == [
        "tiny (centre crop)",
        "other (centre crop)",
    ]


def test_several_images_in_one_file(tmp_path):
    write_facts(tmp_path, image_size=[30, 30])
    values = features(3, 2, 2, 8)
    np.save(tmp_path / "all.npy", values)
    masks = np.arange(3 * 30 * 30).reshape(3, 30, 30) % 7 == 0
    for kind in ("train/good", "test/good", "test/cut", "ground_truth/cut"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    sizes = [(20, 20), (20, 40), (40, 20)]
    for kind in ("train/good", "test/good", "test/cut"):
        np.savez(tmp_path / "set" / kind / "all.npz", features=values, image_size=sizes)
    np.save(tmp_path / "set" / "ground_truth" / "cut" / "all_mask.npy", masks)
    records = read_images(tmp_path / "all.npy")
    assert [record.path.name for record in records] == ["all-0000", "all-0001", "all-0002"]
    np.testing.assert_array_equal(records[2].source.load().features, values[2])
    assert open_data_set(tmp_path / "all.npy").train == records
    write_facts(tmp_path / "set")
    data = open_data_set(tmp_path / "set")
    assert (len(data.train), len(data.test)) == (3, 6)
    assert [r.source.load().frame.original for r in data.train] == sizes
    np.testing.assert_array_equal(mask_of(data.test[1]), masks[1])
    np.testing.assert_array_equal(data.test[4].source.load().features, values[1])
    np.save(tmp_path / "set" / "ground_truth" / "cut" / "all_mask.npy", masks[:2])
    with pytest.raises(
        ValueError, match=r"must be one \.npy of shape \(3, H, W\), got .*stack them"
    ):
        mask_of(data.test[0])


def test_the_image_beside_is_drawn_and_tells_the_size(tmp_path):
    write_facts(tmp_path)
    np.save(tmp_path / "a.npy", features(3, 4, 8))
    Image.fromarray(surface(0)[0]).save(tmp_path / "a.png")
    (record,) = read_folder(tmp_path)
    assert record.source.load().frame.original == (SIDE, SIDE)
    np.testing.assert_array_equal(pixels_of(record)[..., 0] * 255, surface(0)[0])
    write_facts(tmp_path, image_size=[60, 80])
    with pytest.raises(ValueError, match=r"image_size must be that of the image beside, 84 x 84"):
        record.source.load()


def test_arrays_of_images_are_no_features(tmp_path):
    for number, shape in enumerate([(6, 6), (6, 6, 3), (6, 6, 1)]):
        np.save(tmp_path / f"{number}.npy", np.zeros(shape, np.uint8))
        assert not is_feature_file(tmp_path / f"{number}.npy")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.warns(UserWarning, match=r"not known as images \(2 of \.npz"):
        assert [record.source for record in read_folder(tmp_path)] == [None] * 3
    assert number_of_images(tmp_path / "broken.npz") is None


def test_features_and_images_are_kept_apart(tmp_path):
    np.save(tmp_path / "a.npy", features(3, 4, 8))
    Image.fromarray(surface(0)[0]).save(tmp_path / "b.png")
    with pytest.raises(
        ValueError, match=r"hold features or images, got 1 files of features and 1 images .*b\.png"
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("facts", "values", "message"),
    [
        (None, features(3, 4, 8), r"must have a name and an image_size, .* got no such file"),
        ({"size": 3}, features(3, 4, 8), "unknown field 'size'"),
        ({"image_size": [0, 4]}, features(3, 4, 8), "must have a name and an image_size"),
        ({}, features(3, 4, 8), "image_size must be known, got none for"),
        ({"image_size": [9, 9], "grid": [4, 3]}, features(3, 4, 8), r"grid must be that of the features, \(3, 4\)"),
        ({"image_size": [9, 9], "resized": [9, 9]}, features(3, 4, 8), "with patch_size None"),
        (
            {"image_size": [9, 9], "resized": [9, 9], "patch_size": 3},
            features(3, 4, 8),
            r"resized must hold a grid of \(3, 4\) patches, got \(9, 9\)",
        ),
        ({"image_size": [9, 9]}, np.full((3, 4, 8), np.nan), "features must be finite"),
        ({"image_size": [9, 9]}, np.full((3, 4, 8), "x"), "features must be numbers of shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, facts, values, message):
    if facts is not None:
        write_facts(tmp_path, **facts)
    np.save(tmp_path / "a.npy", values)
    (record,) = read_images(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=message) as caught:
        record.source.load()
    assert "\n" not in str(caught.value)


def test_files_that_are_cut_short_or_gone(tmp_path):
    write_facts(tmp_path, image_size=[9, 9])
    np.savez(tmp_path / "a.npz", features=features(3, 4, 8))
    (record,) = read_images(tmp_path / "a.npz")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[100:140] = bytes(40)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"must be a whole \.npz of arrays of numbers, got .*a\.npz"
    ):
        record.source.load()
    (tmp_path / "a.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"must be a file, got .*nothing there"):
        record.source.load()


def test_zarr_holds_what_an_archive_holds(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    values, facts = features(2, 3, 4, 8), {"name": "tiny", "image_size": [[20, 20], [20, 40]]}
    folder = tmp_path / "train" / "good"
    folder.mkdir(parents=True)
    np.savez(tmp_path / "all.npz", features=values, **facts)
    zarr.create_array(folder / "all.zarr", data=values, attributes=facts, zarr_format=2)
    group = zarr.create_group(tmp_path / "all.zarr", attributes={"name": "tiny"})
    group.create_array("features", data=values)
    group.create_array("image_size", data=np.array(facts["image_size"]))
    zarr.create_array(folder / "one.zarr", data=values[0], attributes={"image_size": [9, 9]})
    (folder / "features.json").write_text('{"name": "tiny"}')
    wanted = [record.source.load() for record in read_images(tmp_path / "all.npz")]
    found = [record.source.load() for record in read_images(tmp_path / "all.zarr")]
    several = open_data_set(tmp_path / "train").train
    assert [record.path.name for record in several] == ["all-0000", "all-0001", "one.zarr"]
    assert several == read_folder(tmp_path / "train")
    for one, other, third in zip(wanted, found, several[:2], strict=True):
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.features, third.source.load().features)
        assert one.frame == other.frame == third.source.load().frame
    assert several[2].source.load().frame == Frame((9, 9), (3, 4), (0, 0), (3, 4), 1)
    (chunk,) = (folder / "one.zarr" / "c" / "0" / "0").iterdir()
    chunk.write_bytes(b"no chunk")
    with pytest.raises(ValueError, match=r"must be a whole \.zarr that is an array or holds"):
        several[2].source.load()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"\.zarr need zarr, .* pip install 'jaxdpmm\[zarr\]'"):
        read_images(tmp_path / "all.zarr")
