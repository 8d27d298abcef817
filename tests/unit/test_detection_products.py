"""Several products in one model: which an image shows, that it shows none, and the score of the right detector."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, write_backbone, write_mvtec

from jaxdpmm import cli
from jaxdpmm.detection import Detector, DetectorConfig, ProductDetector, evaluate_products
from jaxdpmm.detection.products.figures import NONE
from jaxdpmm.images.layouts import open_data_set, open_products

RATE = 0.2  # 1 / 7 is the smallest p-value of six images


def repainted(folder, paint):
    """The images of a data set as another product."""
    for file in sorted(folder.rglob("*.png")):
        if "ground_truth" not in file.parts:
            pixels = np.asarray(Image.open(file), np.float32) / 255
            Image.fromarray((255 * paint(pixels)).astype(np.uint8)).save(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two products that are learned, one that is not, and a backbone."""
    folder = tmp_path_factory.mktemp("products")
    for name in ("known/striped", "known/dark", "all/striped", "all/dark", "all/chequered"):
        write_mvtec(folder / name)
    for parent in ("known", "all"):
        repainted(folder / parent / "dark", lambda pixels: 0.15 * pixels.T)
    squares = np.indices((SIDE, SIDE)).sum(0) // 14 % 2
    repainted(folder / "all" / "chequered", lambda pixels: np.stack([squares, pixels, pixels], -1))
    write_backbone(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    config = DetectorConfig(str(folder / "tiny"), short_side=SIDE, num_components=3)
    return ProductDetector.fit(open_products(folder / "known"), config)


def test_images_go_to_their_product_and_others_to_none(folder, detector):
    figures, images = evaluate_products(detector, open_products(folder / "all"), rate=RATE)
    counts = {name: parts["normal"] for name, parts in figures["confusion"].items()}
    assert counts["striped"] == {
        "dark": 0,
        "striped": 3 - counts["striped"][NONE],
        NONE: counts["striped"][NONE],
    }
    assert counts["dark"]["striped"] == 0
    defective = {name: parts["anomalous"] for name, parts in figures["confusion"].items()}
    assert (defective["striped"]["striped"], defective["dark"]["dark"]) == (3, 3)  # not refused
    assert counts["chequered"] == {"dark": 0, "striped": 0, NONE: 3}
    assert figures["share_right"] + figures["share_none"] == 1
    assert list(figures["products"]) == ["dark", "striped"]
    assert figures["products"]["striped"]["image_auroc"] == 1.0
    assert figures["num_test"] == len(images) == 18
    assert all(one.is_anomalous(RATE) for one in images if one.route.product is None)


def test_each_image_is_scored_by_its_product_in_one_unit(folder, detector):
    records = open_data_set(folder / "known" / "striped").test
    alone = detector.products["striped"].detector
    low, high = alone.colour_limits
    for one, plain in zip(detector.score(records), alone.score(records), strict=True):
        assert one.route.likeliest == "striped"
        grid = (plain.patch_scores - low) / (high - low)
        np.testing.assert_allclose(one.scored.patch_scores, grid, rtol=1e-4, atol=1e-5)
        assert one.p_value == alone.p_value(plain)


def test_one_file_holds_all_and_one_backbone(folder, detector, tmp_path):
    detector.save(tmp_path / "model")
    loaded = ProductDetector.load(tmp_path / "model")
    records = open_data_set(folder / "known" / "dark").test
    for ours, theirs in zip(detector.score(records), loaded.score(records), strict=True):
        assert ours.route == theirs.route
        np.testing.assert_array_equal(ours.scored.patch_scores, theirs.scored.patch_scores)
    weights = {id(product.detector.backbone) for product in loaded.products.values()}
    assert len(weights) == 1
    with pytest.raises(ValueError, match=r"fields \['products'\] instead of 'model' alone"):
        Detector.load(tmp_path / "model")
    detector.products["dark"].detector.save(tmp_path / "one")
    with pytest.raises(
        ValueError, match="must be a model file of several products written by jaxdpmm"
    ):
        ProductDetector.load(tmp_path / "one")


def test_commands(folder, tmp_path, capsys):
    def run(*arguments, status=0):
        capsys.readouterr()
        assert cli.run([str(argument) for argument in arguments]) == status
        return "".join(capsys.readouterr())

    model, options = tmp_path / "model", ("--backbone", folder / "tiny", "--short-side", SIDE)
    data, more = folder / "known", ("--num-components", 3, "--json", tmp_path / "fit.json")
    assert "2 products" in run("fit", data, "--products", "-o", model, *options, *more)
    assert list(json.loads((tmp_path / "fit.json").read_text())["products"]) == ["dark", "striped"]
    run("score", model, data / "dark" / "test", "-o", tmp_path / "scores", "--rate", RATE)
    with (tmp_path / "scores" / "scores.csv").open() as file:
        assert {row["likeliest"] for row in csv.DictReader(file)} == {"dark"}
    printed = run("evaluate", model, data, "-o", tmp_path / "run")
    assert "striped, anomalous" in printed
    run("report", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "none of these" in page
    assert "normal images, right product" in page
    refused = run("evaluate", model, data, "--method", "bank", status=2)
    assert "--method must be left out with a model of several products" in refused
    refused = run("explain", model, data / "dark/test/good/00.png", status=2)
    assert "MODEL must be of one product for this command" in refused
    refused = run("fit", data / "dark", "--products", "-o", tmp_path / "other", *options, status=2)
    assert "path must hold a folder for each of several products" in refused
    refused = run("fit", data, "-o", tmp_path / "other", *options, status=2)
    assert "learn all of them as products with `jaxdpmm fit --products`" in refused


def test_what_cannot_be_learned(folder, detector, tmp_path):
    striped = open_data_set(folder / "known" / "striped")
    with pytest.raises(ValueError, match="data must hold at least one product, got none"):
        ProductDetector.fit({})
    with pytest.raises(ValueError, match="at least 2 images to learn from, got 1; add some"):
        ProductDetector.fit({"x": striped._replace(train=striped.train[:1])}, detector.config)
    with pytest.raises(FileNotFoundError, match="path must be a folder"):
        open_products(tmp_path / "absent")
