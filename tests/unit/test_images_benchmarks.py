"""Tiny folders in the layouts of public data sets, arrays in memory, and what is said of a layout that is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images.arrays import records_of_arrays
from jaxdpmm.images.data_sets.visa import read_visa
from jaxdpmm.images.geometry import Preprocessing
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.images.reading import load_image, mask_of, pixels_of
from jaxdpmm.images.transforms import prepare


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def seen(root, records):
    """Label, kind, image and mask of each record, paths within the data set."""

    def relative(path):
        return path and path.relative_to(root.resolve()).as_posix()

    return [
        (
            r.label,
            r.kind,
            relative(r.path.resolve()),
            relative(r.mask_path and r.mask_path.resolve()),
        )
        for r in records
    ]


def write_visa(root):
    touch(
        root,
        *(f"candle/Data/Images/Normal/{i}.JPG" for i in range(3)),
        "candle/Data/Images/Anomaly/000.JPG",
        "candle/Data/Masks/Anomaly/000.png",
        "pcb1/Data/Images/Normal/0.JPG",
    )
    rows = ["object,split,label,image,mask"]
    for split, name in (("train", "1"), ("train", "0"), ("test", "2")):
        rows.append(f"candle,{split},normal,candle/Data/Images/Normal/{name}.JPG,")
    rows.append(
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png"
    )
    rows.append("pcb1,train,normal,pcb1/Data/Images/Normal/0.JPG,")
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\r\n".join(rows) + "\r\n")
    return root


def test_visa(tmp_path):
    root = write_visa(tmp_path / "VisA")
    data = open_data_set(root / "candle")
    assert data.name == "candle"
    assert [r.path.name for r in data.train] == ["0.JPG", "1.JPG"]
    assert seen(root, data.test) == [
        (1, "anomaly", "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"),
        (0, "good", "candle/Data/Images/Normal/2.JPG", None),
    ]


def test_visa_that_is_not_whole(tmp_path):
    root = write_visa(tmp_path / "VisA")
    with pytest.raises(ValueError, match=r"got .* with 2 of them \(candle, pcb1\); choose one"):
        open_data_set(root)
    with pytest.raises(ValueError, match=r"splits train and test for 'pcb1', got 1 and 0"):
        open_data_set(root / "pcb1")
    (root / "candle/Data/Masks/Anomaly/000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"file of VisA's table must be there, .*000\.png"):
        open_data_set(root / "candle")
    table = tmp_path / "other.csv"
    table.write_text("image,label\nx,normal\n")
    with pytest.raises(
        ValueError, match=r"must have the columns object, .*, got image, label; give"
    ):
        read_visa(root / "candle", table)
    (root / "split_csv" / "1cls.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"needs the table split_csv.1cls\.csv beside its"):
        open_data_set(root / "candle")
    with pytest.raises(
        ValueError, match=r"layout of VisA \(Data/Images/Normal .* split_csv/ \(0 f"
    ):
        read_visa(root)


def test_btad(tmp_path):
    names = ["train/ok/0.bmp", "test/ok/1.bmp", "test/ko/2.bmp", "ground_truth/ko/2.png"]
    root = touch(tmp_path / "03", *names)
    data = open_data_set(root)
    assert seen(root, data.train) == [(0, "good", "train/ok/0.bmp", None)]
    assert seen(root, data.test) == [
        (1, "ko", "test/ko/2.bmp", "ground_truth/ko/2.png"),
        (0, "good", "test/ok/1.bmp", None),
    ]
    touch(root, "test/ko/9.bmp")
    with pytest.raises(ValueError, match=r"test/ko must have a mask in .*, got none for 9\.bmp"):
        open_data_set(root)
    bare = touch(tmp_path / "bare", "train/ok/0.bmp", "test/images/1.bmp")
    with pytest.raises(ValueError, match=r"layout of BTAD .* test/images/ \(0 folders, 1 images"):
        open_data_set(bare)


WITH_MASKS = {
    "everywhere-img": ("train/good/img/0.png", "test/good/img/2.png"),
    "train-without-img": ("train/good/0.png", "test/good/img/2.png"),
}


@pytest.mark.parametrize("files", WITH_MASKS.values(), ids=list(WITH_MASKS))
def test_bmad_with_masks(tmp_path, files):
    train, normal = files
    root = touch(
        tmp_path / "Brain",
        train,
        normal,
        "valid/good/img/1.png",
        "valid/Ungood/img/5.png",
        "valid/Ungood/label/5.png",
        "test/Ungood/img/3.png",
        "test/Ungood/label/3.png",
        "test/good/label/2.png",
    )
    with pytest.warns(
        UserWarning, match=r"layout does not use \(1: valid/Ungood/img/5\.png\); move"
    ):
        data = open_data_set(root)
    assert seen(root, data.train) == [(0, "good", train, None)]
    assert seen(root, data.validation) == [(0, "good", "valid/good/img/1.png", None)]
    assert seen(root, data.test) == [
        (1, "Ungood", "test/Ungood/img/3.png", "test/Ungood/label/3.png"),
        (0, "good", normal, None),
    ]


def test_bmad_without_masks(tmp_path):
    files = ["train/good/0.png", "valid/good/1.png", "valid/Ungood/2.png"]
    root = touch(tmp_path / "chest", *files, "test/good/3.png", "test/Ungood/4.png")
    with pytest.warns(UserWarning, match=r"does not use \(1: valid/Ungood/2\.png\)"):
        data = open_data_set(root)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1, 1, 2]
    assert seen(root, data.test)[0] == (1, "Ungood", "test/Ungood/4.png", None)


def test_bmad_that_is_not_whole(tmp_path):
    root = touch(tmp_path / "RESC", "train/good/0.png", "test/Ungood/img/1.png")
    touch(root, "test/Ungood/label/2.png")
    with pytest.raises(
        ValueError, match=r"must have a mask in .*label, got none for 1\.png; add it"
    ):
        open_data_set(root)
    empty = touch(tmp_path / "empty", "train/bad/0.png", "valid/good/1.png", "test/good/2.png")
    with pytest.raises(
        ValueError, match=r"layout of BMAD .* train/bad/ \(0 folders, 1 images, 0 o"
    ):
        open_data_set(empty)


def test_grey_levels_of_a_mask_are_all_anomalous(tmp_path):
    """BraTS and RESC masks went through a colour map: 58, 122 and 255 are all tumour."""
    root = touch(tmp_path / "Brain", "train/good/0.png", "test/good/1.png", "test/Ungood/img/2.png")
    levels = np.array([[0, 58], [122, 255]], np.uint8)
    (root / "test/Ungood/label").mkdir()
    Image.fromarray(levels).save(root / "test/Ungood/label/2.png")
    record = open_data_set(root).test[0]
    np.testing.assert_array_equal(mask_of(record), levels > 0)


def test_mvtec_ad_2(tmp_path):
    files = ["train/good/000_regular.png", "validation/good/1.png", "test_public/good/2.png"]
    root = touch(tmp_path / "can", *files, "test_public/bad/3_regular.png")
    touch(root, "test_public/ground_truth/bad/3_regular_mask.png", "test_private/4.png")
    touch(root, "test_private_mixed/5.png")
    message = r"does not use \(2: test_private/4\.png, test_private_mixed/5\.png\)"
    with pytest.warns(UserWarning, match=message):
        data = open_data_set(root)
    assert seen(root, data.train) == [(0, "good", files[0], None)]
    assert seen(root, data.validation) == [(0, "good", files[1], None)]
    assert seen(root, data.test) == [
        (
            *(1, "bad", "test_public/bad/3_regular.png"),
            "test_public/ground_truth/bad/3_regular_mask.png",
        ),
        (0, "good", files[2], None),
    ]


def test_mvtec_loco_has_several_masks_an_image_and_images_for_thresholds(tmp_path):
    files = ["train/good/0.png", "validation/good/1.png", "test/good/2.png"]
    kind = "logical_anomalies"
    root = touch(tmp_path / "pushpins", *files, f"test/{kind}/000.png")
    masks = root / "ground_truth" / kind / "000"
    masks.mkdir(parents=True)
    marks = np.zeros((2, 3, 3), np.uint8)
    marks[0, 0, 0], marks[1, 2, 1] = 255, 255
    for number, mark in enumerate(marks):
        Image.fromarray(mark).save(masks / f"00{number}.png")
    data = open_data_set(root)
    assert [record.path.name for record in data.validation] == ["1.png"]
    assert [(r.kind, r.label) for r in data.test] == [("good", 0), (kind, 1)]
    np.testing.assert_array_equal(mask_of(data.test[1]), marks.any(axis=0))


def test_dagm_learns_from_images_without_a_label(tmp_path):
    files = ["Train/1.PNG", "Train/2.PNG", "Train/Label/2_label.PNG", "Train/Label/Labels.txt"]
    root = touch(tmp_path / "Class1", *files, "Test/3.PNG", "Test/4.PNG", "Test/Label/4_label.PNG")
    with pytest.warns(UserWarning, match=r"does not use \(1: Train/2\.PNG\)"):
        data = open_data_set(root)
    assert seen(root, data.train) == [(0, "good", "Train/1.PNG", None)]
    assert seen(root, data.test) == [
        (1, "defect", "Test/4.PNG", "Test/Label/4_label.PNG"),
        (0, "good", "Test/3.PNG", None),
    ]
    (root / "Train/1.PNG").unlink()
    with pytest.raises(ValueError, match=r"layout of DAGM \(images in Train and Test, labels"):
        open_data_set(root)


def test_arrays_are_images_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 42), dtype=np.uint8)
    masks = np.zeros((3, 28, 42), np.uint8)
    masks[1, :5, :5] = 7
    records = records_of_arrays(images, masks=masks, name="scan")
    assert [(r.path.name, r.label, r.kind) for r in records] == [
        ("scan-00000", 0, "good"),
        ("scan-00001", 1, "anomalous"),
        ("scan-00002", 0, "good"),
    ]
    assert mask_of(records[1]).sum() == 25
    pixels, frame = prepare(records[1], Preprocessing(28, 14))
    np.testing.assert_array_equal(pixels[:, :, 0], (images[1] / np.float32(255)).astype(np.float32))
    assert frame.grid == (2, 3)
    np.save(tmp_path / "one.npy", images[1])
    np.testing.assert_array_equal(load_image(tmp_path / "one.npy"), pixels)
    assert mask_of(records_of_arrays(images)[0]) is None


@pytest.mark.parametrize(
    ("values", "largest"),
    [(np.full((3, 4), 65535, np.uint16), 1.0), (np.full((3, 4, 3), 0.5), 0.5)],
)
def test_arrays_of_other_types(values, largest):
    pixels = pixels_of(records_of_arrays([values])[0])
    assert (pixels.shape, pixels.dtype, pixels.max()) == ((3, 4, 3), np.float32, largest)


def test_arrays_that_are_no_images(tmp_path):
    with pytest.raises(
        ValueError, match=r"shape \(H, W\) or .* got x-00000 with shape \(2, 3, 4\)"
    ):
        pixels_of(records_of_arrays([np.zeros((2, 3, 4))], name="x")[0])
    with pytest.raises(ValueError, match=r"from 0 to 1 in dtype float64, got .* with 0 to 300"):
        pixels_of(records_of_arrays([np.array([[0.0, 300.0]])])[0])
    with pytest.raises(ValueError, match="labels must be one per image, 2, got 1"):
        records_of_arrays(np.zeros((2, 3, 3)), [0])
    with pytest.raises(
        ValueError, match=r"labels must be 0 \(normal\) or 1 \(anomalous\), got \[0"
    ):
        records_of_arrays(np.zeros((2, 3, 3)), [0, 255])
    with pytest.raises(
        ValueError, match=r"size of its image, \(3, 3\), got \(2, 3\) for array-00000"
    ):
        records_of_arrays(np.zeros((1, 3, 3)), masks=np.zeros((1, 2, 3)))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"whole \.npy file of numbers, got .*cut\.npy \(6 bytes"):
        load_image(tmp_path / "cut.npy")


def test_a_validation_part_called_valid_costs_no_masks(tmp_path):
    files = ["train/good/0.png", "valid/good/1.png", "test/good/2.png", "test/bad/3.png"]
    root = touch(tmp_path / "x", *files, "ground_truth/bad/3_mask.png")
    data = open_data_set(root)
    assert seen(root, data.validation) == [(0, "good", files[1], None)]
    assert seen(root, data.test)[0] == (1, "bad", files[3], "ground_truth/bad/3_mask.png")
