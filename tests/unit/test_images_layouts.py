"""Layouts on disk become records; a wrong layout is explained with what was found."""

from pathlib import Path

import medical
import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images.data_sets.elpv import read_elpv
from jaxdpmm.images.layouts import open_data_set, read_folder, read_mvtec
from jaxdpmm.images.reading import mask_of, pixels_of


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def mvtec(tmp_path):
    return touch(
        tmp_path / "bottle",
        "train/good/001.png",
        "train/good/000.png",
        "test/good/000.png",
        "test/crack/000.png",
        "test/crack/001.JPG",
        "test/stain/000.png",
        "ground_truth/crack/000_mask.png",
        "ground_truth/crack/001.png",
    )


def test_mvtec(mvtec):
    data = open_data_set(mvtec)
    assert data.name == "bottle"
    assert [r.path.name for r in data.train] == ["000.png", "001.png"]
    assert {(r.label, r.kind, r.mask_path) for r in data.train} == {(0, "good", None)}
    assert [(r.kind, r.path.name, r.label) for r in data.test] == [
        ("crack", "000.png", 1),
        ("crack", "001.JPG", 1),
        ("good", "000.png", 0),
        ("stain", "000.png", 1),
    ]
    masks = [r.mask_path and r.mask_path.relative_to(mvtec).as_posix() for r in data.test]
    assert masks == ["ground_truth/crack/000_mask.png", "ground_truth/crack/001.png", None, None]


def test_mvtec_with_a_mask_missing(mvtec):
    (mvtec / "ground_truth/crack/001.png").unlink()
    with pytest.raises(ValueError, match=r"test/crack must have a mask .* got none for 001\.JPG"):
        read_mvtec(mvtec)


def test_wrong_layouts_are_explained(mvtec, tmp_path):
    with pytest.raises(ValueError, match=r"must be one data set, got .* 1 of them \(bottle\); cho"):
        open_data_set(tmp_path)
    with pytest.raises(
        ValueError, match=r"in train/good\), got .* train/ \(0 folders, 1 images, 0"
    ):
        open_data_set(touch(tmp_path / "flat", "train/a.png", "test/b.png"))
    nested = touch(tmp_path / "nested", "train/good/a.png", "test/good/all/b.png")
    with pytest.raises(ValueError, match=r"test/<kind>\), got .* test/good/ \(1 folders, 0 images"):
        open_data_set(nested)
    with pytest.raises(ValueError, match=r"train/good and test/<kind> beside it\), got .* test/"):
        open_data_set(touch(tmp_path / "half", "test/crack/a.png"))


def test_plain_folder(tmp_path):
    root = touch(tmp_path / "photos", "b.PNG", "a/z.jpg", ".hidden.png", "notes.txt", "a/._z.jpg")
    data = open_data_set(root)
    assert [r.path.relative_to(root).as_posix() for r in data.train] == ["a/z.jpg", "b.PNG"]
    assert {r.label for r in data.train} == {None}
    assert (data.name, data.test) == ("photos", ())
    assert {(r.label, r.kind) for r in read_folder(root, label=0)} == {(0, "good")}


def test_empty_and_absent_folders(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(
        ValueError, match=r"at least one image .* 0 images, 1 other files; give the"
    ):
        open_data_set(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"folder of images or one of \['elpv'\], got elvp"):
        open_data_set("elvp")
    with pytest.raises(FileNotFoundError, match=r"notes\.txt \(a file\)"):
        read_folder(tmp_path / "notes.txt")


@pytest.fixture
def cells(tmp_path):
    """Forty cells as in the wheel: 20 normal, 12 anomalous, 8 unsure; half of each mono."""
    probabilities = [0.0] * 20 + [1.0] * 12 + [1 / 3] * 4 + [2 / 3] * 4
    lines = [
        f"images/cell{i:04}.png  {p}  {'mono' if i % 2 else 'poly'}"
        for i, p in enumerate(probabilities)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_elpv_split_is_balanced_and_repeatable(cells):
    data = read_elpv(10, 15, folder=cells)
    assert len(data.train) == 10
    assert {r.label for r in data.train} == {0}
    assert sum(r.label for r in data.test) == 7
    assert len({r.path for r in data.train + data.test}) == 25
    assert max(int(r.path.stem[4:]) for r in data.train + data.test) < 32  # no unsure cell
    assert data == read_elpv(10, 15, folder=cells)
    assert data.train != read_elpv(10, 15, seed=1, folder=cells).train
    assert set(data.train) <= set(read_elpv(12, 2, folder=cells).train)


def test_elpv_cell_types(cells):
    data = read_elpv(4, 4, cell_types=("mono",), folder=cells)
    assert {int(r.path.stem[4:]) % 2 for r in data.train + data.test} == {1}
    assert {r.kind for r in data.test} == {"good", "defective mono"}
    with pytest.raises(ValueError, match=r"cell_types must be among .* got \['amorphous'\]"):
        read_elpv(cell_types=["amorphous"], folder=cells)


def test_elpv_asked_for_too_much(cells, tmp_path):
    with pytest.raises(ValueError, match=r"20 normal and 12 anomalous cells, got num_train=15 and"):
        read_elpv(15, 12, folder=cells)
    with pytest.raises(FileNotFoundError, match=r"folder must hold labels\.csv"):
        read_elpv(folder=tmp_path / "elsewhere")


def test_reading_follows_the_layout(mvtec):
    """Records point at files that the reader takes: the two halves of the package fit together."""
    from jaxdpmm.images.reading import load_image

    record = read_mvtec(mvtec).train[0]
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(record.path)
    assert load_image(record.path).shape == (4, 5, 3)


def test_volumes_in_a_layout_of_images(tmp_path):
    pytest.importorskip("nibabel")
    root = touch(tmp_path / "x", "train/good/0.png", "test/good/1.png", "test/torn/2.png")
    values = np.zeros((4, 4, 3), np.float32)
    marks = np.zeros((4, 4, 3), np.uint8)
    marks[1, 1, 2] = 1
    for name in ("train/good/a", "test/good/b", "test/torn/c"):
        medical.write_nifti(root / f"{name}.nii.gz", values)
    data = open_data_set(root)
    assert [r.path.name for r in data.train] == ["0.png", *(f"a.nii.gz-000{i}" for i in range(3))]
    assert [(r.label, r.kind) for r in data.test] == [(0, "good")] * 4 + [(1, "torn")] * 2
    message = r"that tells which slices are, got none for .*c\.nii\.gz \(3 slices\); add one"
    with pytest.raises(ValueError, match=message):
        pixels_of(data.test[-1])
    (root / "ground_truth/torn").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"test/torn must have a mask .* got none for 2\.png"):
        open_data_set(root)
    touch(root, "ground_truth/torn/2.png")
    medical.write_nifti(root / "ground_truth/torn/c_seg.nii", marks)
    data = open_data_set(root)
    assert [(r.label, r.kind) for r in data.test[-3:]] == [(0, "good"), (0, "good"), (1, "torn")]
    assert mask_of(data.test[-1]).sum() == 1


def test_what_a_layout_does_not_use_is_told_of(mvtec):
    touch(mvtec, "train/good/deep/1.png", "readme.txt", "train/bad/2.png", "test/0.heic")
    with pytest.warns(UserWarning, match="leaves out") as told:
        data = open_data_set(mvtec)
    messages = sorted(str(one.message) for one in told)
    assert len(messages) == 2
    assert "layout does not use (2: train/bad/2.png, train/good/deep/1.png); move" in messages[1]
    assert "1 of .heic" in messages[0]
    assert len(data.train) == 2


def test_links_within_a_data_set_are_used_and_not_told_of(mvtec):
    (mvtec / "store").mkdir()
    (mvtec / "test" / "stain").rename(mvtec / "store" / "stain")
    (mvtec / "test" / "stain").symlink_to(mvtec / "store" / "stain")
    kinds = [record.kind for record in open_data_set(mvtec).test]  # a warning would be an error
    assert kinds.count("stain") == 1
