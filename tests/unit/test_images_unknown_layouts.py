"""What names of folders and files say: known layouts in any spelling, and what is refused instead of learned from."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images import names
from jaxdpmm.images.layouts import open_data_set, read_folder, read_normal_folder
from jaxdpmm.images.listing import image_suffixes
from jaxdpmm.images.names import role_of
from jaxdpmm.images.reading import load_image


def touch(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def below(root, records):
    return [record.path.relative_to(root).as_posix() for record in records]


ROLES = {
    names.NORMAL: "good Good OK ok_images Normal normal2 free MT_Free defect-free DefectFree no_defect good_test",
    names.ANOMALOUS: "bad NG ng_2 ko NOK not_good Ungood not-ok Defects defect1 anomalies abnormal class_bad",
    names.MASK: "mask masks Label labelsTr ground_truth GroundTruth GT defect_masks annotations",
    names.TEST: "test Test tests test_public TestImages testing test2",
    names.VALIDATION: "val valid Validation VAL",
    names.TRAIN: "train Train training train_2",
    None: "crack valve value nominally photos goods contest latest image0 a 2024-01-07 sang",
}


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_names_say_what_they_mean(role):
    assert {name: role_of(name) for name in ROLES[role].split()} == dict.fromkeys(
        ROLES[role].split(), role
    )


@pytest.mark.parametrize("normal", ["good", "Good", "OK", "normal", "defect_free"])
@pytest.mark.parametrize("mask", ["0_mask.PNG", "0.bmp", "0_GT.tif", "mask_0.png"])
def test_mvtec_in_any_spelling(tmp_path, normal, mask):
    files = [f"Train/{normal}/0.png", f"TEST/{normal}/1.png", "TEST/Crack/0.jpeg"]
    root = touch(tmp_path / "x", *files, f"Ground Truth/crack/{mask}")
    data = open_data_set(root)
    assert below(root, data.train) == [files[0]]
    found = [(r.kind, r.mask_path and r.mask_path.name) for r in data.test]
    assert sorted(found) == [("Crack", mask), ("good", None)]


def test_a_mask_that_is_there_twice_is_refused(tmp_path):
    files = ["train/good/0.png", "test/bad/0.png", "ground_truth/bad/0_mask.png"]
    root = touch(tmp_path / "x", *files, "ground_truth/bad/0_gt.png")
    with pytest.raises(ValueError, match=r"one mask, got 0_gt\.png and 0_mask\.png .*remove one"):
        open_data_set(root)


def test_train_and_val_without_a_test_part(tmp_path):
    root = touch(tmp_path / "x", "train/good/0.png", "val/good/1.png", "val/bad/2.png")
    data = open_data_set(root)
    assert (below(root, data.train), data.validation) == (["train/good/0.png"], ())
    assert below(root, data.test) == ["val/bad/2.png", "val/good/1.png"]


def test_normal_images_beside_others(tmp_path):
    normal = [f"good/{i}.png" for i in range(10)]
    root = touch(tmp_path / "x", *normal, "crack/0.png", "mask/crack/0.png", "cut/0.png")
    data = open_data_set(root)
    held = [r for r in data.test if r.label == 0]
    assert (len(data.train), len(held)) == (8, 2)
    assert sorted(below(root, [*data.train, *held])) == sorted(normal)
    others = [(r.kind, r.mask_path and r.mask_path.name) for r in data.test if r.label]
    assert others == [("crack", "0.png"), ("cut", None)]
    touch(root, "good/z.png")  # none of the others moves
    assert {r.path for r in held} <= {r.path for r in open_data_set(root).test}
    touch(root, "good_test/t.png")
    data = open_data_set(root)
    assert len(data.train) == 11
    assert [r.path.name for r in data.test if r.label == 0] == ["t.png"]


def test_normal_images_in_several_folders_beside_others(tmp_path):
    root = touch(tmp_path / "x", "good_1/0.png", "good_2/0.png", "crack/0.png")
    data = open_data_set(root)
    assert below(root, data.train) == ["good_1/0.png", "good_2/0.png"]
    assert below(root, data.test) == ["crack/0.png"]


def test_normal_images_beside_one_kind_with_masks(tmp_path):
    root = touch(tmp_path / "x", "OK/0.bmp", "NG/1.bmp", "masks/1_mask.png")
    (record,) = open_data_set(root).test
    assert (record.kind, record.mask_path) == ("NG", root / "masks/1_mask.png")


REFUSED = {
    "masks beside": (["images/0.png", "masks/0.png"], "masks/ (1 images: mask)", "sort normal"),
    "masks in it": (["a/0.png", "a/0_mask.png"], "masks such as a/0_mask.png beside", "sort norm"),
    "names of files": (["OK_1.png", "NG_1.png"], "OK_1.png and NG_1.png in one folder", "sort no"),
    "numbers": (["part-1-ok.png", "part-2-ng.png"], "part-2-ng.png in one folder", "sort normal"),
    "deep": (
        ["all/line 1/Good/0.png", "all/line 1/Bad/0.png", "all/2/0.png"],
        "all/line 1/Bad/ (1 images: anomalous)",
        "use `jaxdpmm fit 'ROOT/all/line 1/Good' --output MODEL` and `jaxdpmm score MODEL 'ROOT/all/line 1/Bad' --out",
    ),
    "flat": (
        ["train/0.png", "val/1.png"],
        "val/ (1 images: validation)",
        "use `jaxdpmm fit ROOT/train --output MODEL` and `jaxdpmm score MODEL ROOT/val --output SCORES`",
    ),
    "loose": (["0.png", "defects/1.png"], "defects/ (1 images: anomalous)", "sort normal images"),
    "kinds beside": (["good/1/0.png", "crack/1/0.png"], "crack/ beside good/", "sort normal"),
    "volumes": (["imagesTr/a.nii.gz", "labelsTr/a.nii.gz"], "labelsTr/ (1 images: mask)", "sort"),
    "volumes beside": (["a.nii.gz", "a_seg.nii.gz"], "masks such as a_seg.nii.gz", "sort normal"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_that_say_not_normal_are_never_learned_from(tmp_path, case):
    files, seen, advice = REFUSED[case]
    root = touch(tmp_path / "x", *files)
    for learn in (open_data_set, read_normal_folder):
        with pytest.raises(ValueError, match=r"normal images or a data set in the layout") as error:
            learn(root)
        assert seen in str(error.value)
        assert advice.replace("ROOT", str(root)) in str(error.value)


def test_the_commands_of_the_refusal_are_right(tmp_path):
    root = touch(tmp_path / "x", "train/0.png", "val/1.png")
    with pytest.raises(ValueError, match="use `jaxdpmm fit"):
        open_data_set(root)
    assert below(root, open_data_set(root / "train").train) == ["train/0.png"]


INCOMPLETE = {
    "no kinds": (["train/0.png", "test/1.png"], "MVTec AD", "train", "test"),
    "deep": (["Train/OK/0.png", "test/ok/all/1.png"], "MVTec AD", "Train/OK", "test"),
    "no normal images": (["train/a/0.png", "test/bad/1.png"], "MVTec AD", "train", "test"),
    "AD 2": (["train/0.png", "test_public/bad/1.png"], "MVTec AD 2", "train", "test_public"),
    "BTAD": (["train/ok/0.png", "test/data/1.png"], "BTAD", "train/ok", "test"),
    "BMAD": (["train/img/0.png", "valid/1.png", "test/Ungood/2.png"], "BMAD", "train", "test"),
    "only a test": (["test/crack/0.png"], "MVTec AD", None, "test"),
    "DAGM without normal images": (
        ["Train/0.png", "Train/Label/0_label.png", "Test/1.png", "Test/Label/1_label.png"],
        *("DAGM", None, "Test"),
    ),
}


@pytest.mark.filterwarnings("ignore:.*masks by their names")
@pytest.mark.parametrize("case", INCOMPLETE)
def test_an_incomplete_layout_is_refused_with_two_commands_that_work(tmp_path, case):
    files, layout, learn, score = INCOMPLETE[case]
    root = touch(tmp_path / "x", *files)
    with pytest.raises(ValueError, match=rf"must have the layout of {layout} \(") as error:
        open_data_set(root)
    normal = "NORMAL_IMAGES" if learn is None else root / learn
    commands = (
        f"`jaxdpmm fit {normal} --output MODEL` and `jaxdpmm score MODEL {root / score} --output"
    )
    assert f"use {commands}" in str(error.value)
    if learn is not None:
        assert len(open_data_set(root / learn).train) == 1
    assert len(read_folder(root / score)) >= 1


def test_a_folder_given_by_name_may_be_called_anything(tmp_path):
    for name in ("test", "masks", "bad"):
        assert len(open_data_set(touch(tmp_path / name, "0.png", "deep/1.png")).train) == 2


def test_labels_that_are_no_images_do_not_count(tmp_path):
    root = touch(tmp_path / "yolo", "images/0.png", "labels/0.txt", "bad/notes.md")
    assert below(root, open_data_set(root).train) == ["images/0.png"]


def test_scoring_leaves_masks_out_and_says_so(tmp_path):
    root = touch(tmp_path / "x", "test/bad/0.png", "ground_truth/bad/0.png", "1.png", "1_gt.png")
    with pytest.warns(
        UserWarning, match=r"files that are masks by their names \(2: 1_gt.png, ground_tr"
    ):
        assert below(root, read_folder(root)) == ["1.png", "test/bad/0.png"]


def test_every_suffix_that_pillow_reads(tmp_path):
    for suffix, kind in {
        "jfif": "JPEG",
        "JPE": "JPEG",
        "gif": "GIF",
        "dib": "BMP",
        "tga": "TGA",
    }.items():
        Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / f"x.{suffix}", format=kind)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.pnm", format="PPM")
    records = read_folder(tmp_path)
    assert len(records) == 6
    assert {load_image(record.path).shape for record in records} == {(8, 8, 3)}
    assert image_suffixes().isdisjoint({".pdf", ".eps", ".h5", ".mpg", ".wmf", ".txt"})


def test_files_of_other_suffixes_are_counted_and_named(tmp_path):
    root = touch(tmp_path / "x", "0.png", "a.HEIC", "b.heic", "c.dng", "readme.txt", "LICENSE")
    message = r"leaves out 3 files .* \(2 of \.heic, 1 of \.dng; for example a\.HEIC\); convert"
    with pytest.warns(UserWarning, match=message):
        assert below(root, read_folder(root)) == ["0.png"]


def test_linked_folders_are_followed_once(tmp_path):
    store = touch(tmp_path / "store", "a/0.png", "a/1.png")
    root = touch(tmp_path / "x", "b/2.png")
    (root / "a").symlink_to(store / "a")
    with pytest.warns(UserWarning, match=r"follows linked folders that lead out of it \(1: a\)"):
        assert below(root, read_folder(root)) == ["a/0.png", "a/1.png", "b/2.png"]
    assert below(root, read_folder(root / "a")) == ["a/0.png", "a/1.png"]


def test_links_to_what_is_read_already_are_left_out(tmp_path):
    root = touch(tmp_path / "x", "b/2.png", "c/deep/3.png")
    (root / "0").symlink_to(root / "b")  # comes before the folder itself, which keeps its name
    (root / "b" / "up").symlink_to("..")
    (root / "c" / "parent").symlink_to(tmp_path)
    message = r"leaves out linked folders whose files it has already \(3: 0, b/up, c/parent\)"
    with pytest.warns(UserWarning, match=message):
        assert below(root, read_folder(root)) == ["b/2.png", "c/deep/3.png"]


def test_a_link_to_a_file_that_is_gone_is_not_passed_over(tmp_path):
    root = touch(tmp_path / "x", "0.png")
    (root / "1.png").symlink_to("nowhere.png")
    assert below(root, read_folder(root)) == ["0.png", "1.png"]
    with pytest.raises(FileNotFoundError, match=r"must be a file, got .*1\.png \(nothing there\)"):
        load_image(root / "1.png")


def test_pictures_of_a_run_are_no_images(tmp_path):
    root = touch(tmp_path / "x", "0.png", "run/maps/0.npy", "run/overlays/0.png.png", "run/1.png")
    assert len(read_folder(root)) == 4
    (root / "run" / "run.json").write_text('{"format_version": 1, "model": "m", "images": []}')
    with pytest.warns(UserWarning, match=r"leaves out pictures of runs of jaxdpmm \(1: run\)"):
        assert below(root, read_folder(root)) == ["0.png", "run/1.png"]
    with pytest.warns(UserWarning, match="pictures of runs"):
        assert len(open_data_set(root).train) == 2


def test_hidden_folders_are_never_read(tmp_path):
    root = touch(
        tmp_path / "x", "0.png", ".cache/1.png", ".ipynb_checkpoints/0.png", "a/.b/c/2.png"
    )
    assert below(root, read_folder(root)) == ["0.png"]


def test_names_that_are_not_utf8_are_listed(tmp_path):
    touch(tmp_path, os.fsdecode(b"caf\xe9.png"))
    assert len(read_folder(tmp_path)) == 1
