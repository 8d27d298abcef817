"""The report: a run from the command line, its page in a real browser, and what it says against the run itself."""

import base64
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic import SIDE, write_backbone, write_mvtec

from jaxdpmm import cli
from jaxdpmm.detection import Detector, stream_patches
from jaxdpmm.detection.assigning import component_map
from jaxdpmm.detection.reporting.report import block_maximum, histogram, render_report, score_levels
from jaxdpmm.detection.reporting.runs import read_run
from jaxdpmm.images.layouts import read_mvtec

AXE = os.environ.get("AXE_CORE")  # axe.min.js of the npm package axe-core
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set, a fitted model, and the folder and the page of its evaluation."""
    folder = tmp_path_factory.mktemp("report")
    write_mvtec(folder / "surfaces")
    write_backbone(folder / "tiny")
    sizes = ["--short-side", str(SIDE), "--num-components", "3", "--held-out", "0"]
    places = [str(folder / "surfaces"), "--output", str(folder / "model")]
    assert cli.run(["fit", *places, "--backbone", str(folder / "tiny"), *sizes]) == 0
    run = ["--output", str(folder / "run")]
    assert cli.run(["evaluate", str(folder / "model"), str(folder / "surfaces"), *run]) == 0
    assert cli.run(["report", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, folder):
    """The page, and in `page.noise` all errors and all that it asks of the network."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.noise = []
    page.on("console", lambda said: said.type == "error" and page.noise.append(said.text))
    page.on("pageerror", lambda error: page.noise.append(str(error)))
    page.on("request", lambda request: page.noise.append(request.url))
    page.goto((folder / "run" / "report.html").as_uri())
    page.wait_for_selector("#all canvas", state="attached")
    yield page
    page.close()


def data_of(html: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def page_text(folder) -> str:
    return (folder / "run" / "report.html").read_text()


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_page_holds_the_run(folder):
    run, data = read_run(folder / "run"), data_of(page_text(folder))
    assert len(run.images) == len(data["images"]) == 6
    levels = np.array(data["levels"])
    for image, shown in zip(run.images, data["images"], strict=True):
        assert (shown["name"], shown["score"]) == (image.name, image.score)
        pixels = np.load(image.map)
        assert (shown["height"], shown["width"]) == pixels.shape == (SIDE, SIDE)
        places = decoded(shown["map"]).astype(int)
        assert np.all(levels[places] <= pixels + 1e-3)
        assert np.all(pixels <= levels[np.minimum(places + 1, 255)] + 1e-3)
        if image.label:
            truth = folder / "surfaces/ground_truth/square" / f"{image.name[7:9]}_mask.png"
            np.testing.assert_array_equal(decoded(shown["mask"]) > 0, np.asarray(Image.open(truth)))
        else:
            assert shown["mask"] is None
    scores = np.array([image.score for image in run.images])
    worst = data["worst"]
    assert [run.images[n].label for n in worst["positives"]] == [0, 0, 0]
    assert np.all(np.diff(scores[worst["positives"]]) <= 0)
    assert np.all(np.diff(scores[worst["negatives"]]) >= 0)
    names = re.findall(r'<th scope="row">([^<]*train[^<]*)</th>', page_text(folder))
    scores = [one["score"] for one in run.about["training_images"]]
    assert names == [one["image"] for one in run.about["training_images"]]
    assert (len(names), scores) == (6, sorted(scores, reverse=True))


def test_components_are_those_of_the_detector(folder):
    detector = Detector.load(folder / "model")
    run, data = read_run(folder / "run"), data_of(page_text(folder))
    records = read_mvtec(folder / "surfaces").test
    config, weights = detector.config, detector.backbone
    for image, shown, patches in zip(
        run.images, data["images"], stream_patches(records, config, weights), strict=True
    ):
        expected, _ = component_map(detector.state, patches.features)
        np.testing.assert_array_equal(np.load(image.components), expected)
        coded = decoded(shown["components"]).astype(int)
        np.testing.assert_array_equal(coded[..., 0] + 256 * coded[..., 1], expected)
        assert shown["box"] == [0, 0, 1, 1]
    counts = np.asarray(detector.state.posterior.counts)
    np.testing.assert_allclose(data["shares"], counts / counts.sum(), rtol=1e-3)
    assert [entry["component"] for entry in data["atlas"]] == np.argsort(-counts).tolist()
    crop = decoded(data["atlas"][0]["crops"][0])  # a patch of 14 pixels and those around it
    assert set(crop.shape[:2]) <= {28, 42}


def test_runs_of_before_have_no_components(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    index = tmp_path / "run" / "run.json"
    about = json.loads(index.read_text())
    del about["atlas"], about["shares"], about["training_images"]
    for image in about["images"]:
        del image["components"], image["grid_box"]
    index.write_text(json.dumps(about))
    text = render_report(read_run(tmp_path / "run"))
    assert "What is normal" not in text
    assert "Most atypical training images" not in text
    assert 'value="components"' not in text


def test_page_is_the_same_for_the_same_run_and_shows_its_figures(folder):
    text = page_text(folder)
    assert render_report(read_run(folder / "run")) == text
    figures = json.loads((folder / "run" / "run.json").read_text())["figures"]
    assert f"{figures['mixture']['pixel_auroc']:.3f}" in text
    assert "memory bank" in text
    assert "://" not in re.sub(r"data:image/[^\"]*", "", text)


def test_what_score_writes_has_no_labels(folder, capsys):
    images, output = folder / "surfaces/test", folder / "scored"
    assert cli.run(["score", str(folder / "model"), str(images), "--output", str(output)]) == 0
    page = folder / "page.html"
    assert cli.run(["report", str(output), "--output", str(page), "--side", "40"]) == 0
    assert f"{page}: 6 images" in capsys.readouterr().out
    data = data_of(page.read_text())
    assert {image["label"] for image in data["images"]} == {None}
    assert data["worst"] == {"positives": [], "negatives": []}
    assert {image["width"] for image in data["images"]} == {40}
    assert "6 unlabelled" in page.read_text()


def test_names_cannot_break_the_page(folder):
    run = read_run(folder / "run")
    evil = run.images[0]._replace(name="</script><script>alert(1)</script>", kind='"><b>')
    text = render_report(run._replace(images=(evil, *run.images[1:])))
    assert "<script>alert" not in text
    assert data_of(text)["images"][0]["name"] == evil.name


def test_histogram_counts_every_image():
    scores, labels = np.array([0.0, 1, 1, 10, 10]), np.array([0, 0, 1, 1, -1])
    found = histogram(scores, labels)
    totals = {
        name: sum(each[name]["count"] for each in found["bins"])
        for name in ("normal", "anomalous", "unlabelled")
    }
    assert totals == {"normal": 2, "anomalous": 2, "unlabelled": 1}
    assert found["bins"][-1]["anomalous"]["count"] == 1
    assert histogram(np.ones(3), np.zeros(3, int))["bins"][0]["normal"]["count"] == 3


def test_block_maximum_loses_no_small_spot():
    array = np.zeros((100, 70))
    array[37, 11] = 5
    small = block_maximum(array, (9, 8))
    assert small.shape == (9, 8)
    assert (small == 5).sum() == 1
    np.testing.assert_array_equal(block_maximum(array, (100, 70)), array)


def sentence_of(arguments, capsys) -> str:
    capsys.readouterr()
    assert cli.run([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_runs_that_cannot_be_reported(folder, tmp_path, capsys, monkeypatch):
    assert "(no folder); give" in sentence_of(["report", tmp_path / "absent"], capsys)
    assert "(a folder without run.json)" in sentence_of(["report", tmp_path], capsys)
    (tmp_path / "run.json").write_text('{"format_version": 1, "imag')
    assert "something else or half of it" in sentence_of(["report", tmp_path], capsys)
    (tmp_path / "run.json").write_text('{"format_version": 2, "images": [1]}')
    assert "format version 1 with at least one image, got" in sentence_of(
        ["report", tmp_path], capsys
    )
    shutil.copy(folder / "run" / "run.json", tmp_path / "run.json")
    assert "must hold all files of its index" in sentence_of(["report", tmp_path], capsys)
    run = folder / "run"
    assert "side must be at least 32" in sentence_of(["report", run, "--side", "3"], capsys)
    missing = ["report", run, "--output", tmp_path / "absent" / "page.html"]
    assert "must lie in an existing folder" in sentence_of(missing, capsys)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "pip install 'jaxdpmm[report]'" in sentence_of(["report", run], capsys)


def set_slider(page, name: str, value: float) -> None:
    page.eval_on_selector(
        f"#{name}",
        "(slider, value) => { slider.value = value;"
        " for (const kind of ['input', 'change']) slider.dispatchEvent(new Event(kind)); }",
        value,
    )


def pixels_of(page, name: str, drawn: str) -> np.ndarray:
    """RGB of the first canvas of an image, once it was drawn as wanted."""
    canvas = f"canvas[aria-label^='{name},']"
    page.locator(canvas).first.scroll_into_view_if_needed()
    page.locator(f"{canvas}[data-drawn='{drawn}']").first.wait_for()
    values = page.eval_on_selector(
        canvas,
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)",
    )
    return np.array(values).reshape(SIDE, SIDE, 4)[:, :, :3]


def test_slider_colours_the_pixels_above_it(page, folder):
    run = read_run(folder / "run")
    levels, image = score_levels(run), next(image for image in run.images if image.label)
    page.uncheck("#outline")
    pixels = np.load(image.map)
    last = int(np.searchsorted(levels, np.quantile(pixels, 0.9)))
    for level in (0, 128, last):
        set_slider(page, "pixel-threshold", level)
        shown = pixels_of(page, image.name, f"{level} overlay false")
        coloured = np.ptp(shown, axis=2) > 0  # the rest is grey, the contour white
        np.testing.assert_array_equal(coloured, pixels >= levels[level])
    assert 0 < coloured.mean() < 1
    assert float(page.inner_text("#pixel-threshold-value")) == pytest.approx(levels[last], rel=1e-3)
    page.check("#outline")
    shown = pixels_of(page, image.name, f"{last} overlay true")
    assert ((shown == [0, 255, 160]).all(axis=2)).sum() > 2 * 28
    page.check("input[value=image]")
    page.uncheck("#outline")
    shown = pixels_of(page, image.name, f"{last} image false")
    original = np.asarray(Image.open(folder / "surfaces/test" / image.name))
    assert np.abs(shown.mean(axis=2) - original).mean() < 6
    assert page.noise == [(folder / "run" / "report.html").as_uri()]


def test_image_threshold_sorting_and_filters(page, folder):
    scores = sorted((image.score for image in read_run(folder / "run").images), reverse=True)
    shown = [float(text) for text in page.locator("#all .score").all_text_contents()]
    np.testing.assert_allclose(shown, scores, rtol=1e-3)
    page.select_option("#sort", "up")
    shown = [float(text) for text in page.locator("#all .score").all_text_contents()]
    np.testing.assert_allclose(shown, scores[::-1], rtol=1e-3)
    set_slider(page, "image-threshold", scores[1] - 1e-6)
    assert "finds 2 of 3 anomalous images and calls 0 of 3 normal" in page.inner_text("#outcome")
    page.select_option("#show", "negatives")
    assert page.locator("#all .card").count() == 1
    assert page.text_content("#all .verdict") == "false negative"
    assert page.inner_text("#number") == "1 of 6 images"
    page.select_option("#show", "positives")
    assert page.locator("#all .card").count() == 0
    set_slider(page, "image-threshold", scores[-1])
    assert page.locator("#all .card").count() == 3


def test_the_patches_of_the_component_under_the_pointer_are_outlined(page, folder):
    image = read_run(folder / "run").images[0]
    components = np.load(image.components)
    component, (row, column) = components[2, 3], (2, 3)
    page.uncheck("#outline")  # the true one
    canvas = page.locator(f"canvas[aria-label^='{image.name},']").first
    canvas.scroll_into_view_if_needed()
    frame, rows = canvas.bounding_box(), len(components)
    side = frame["width"] / rows
    page.mouse.move(frame["x"] + (column + 0.5) * side, frame["y"] + (row + 0.5) * side)
    page.locator(f"canvas[data-pointed='{component}']").wait_for()
    assert page.inner_text("#peek").startswith(f"Component {component}: ")
    assert page.locator("#peek img").count() == 3
    shown = pixels_of(page, image.name, f"{data_of(page_text(folder))['start']} overlay false")
    inside = np.kron(components == component, np.ones((14, 14), bool))
    outlined = (shown == [255, 220, 0]).all(axis=2)
    assert outlined.any() == (not inside.all())
    assert not (outlined & inside).any()


def test_keys_walk_through_the_images_and_show_components(page, folder):
    page.locator("#all button").first.focus()
    reached = "document.activeElement.firstChild.dataset.image"
    order = page.eval_on_selector_all("#all canvas", "all => all.map(c => c.dataset.image)")
    for key, place in (
        ("ArrowRight", 1),
        ("End", 5),
        ("ArrowRight", 5),
        ("ArrowLeft", 4),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert page.evaluate(reached) == order[place]
    page.keyboard.press("Enter")
    assert page.locator("#all .card.large button[aria-pressed=true]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".card.large").count() == 0
    page.keyboard.press("c")
    assert page.is_checked("#view-components")
    data = data_of(page_text(folder))
    image = data["images"][int(order[0])]
    shown = pixels_of(page, image["name"], f"{data['start']} components true")
    components = decoded(image["components"])[..., 0]
    patches = np.ptp(shown.reshape(6, 14, 6, 14, 3)[:, 7, :, 7], axis=2)
    assert (patches > 0).all()  # coloured, each by its component
    assert len(np.unique(components)) > 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nobody_is_shut_out(page, scheme, width):
    """The rules of axe-core, which know contrast, names, roles and order."""
    if AXE is None:
        pytest.skip("no axe-core: set AXE_CORE to axe.min.js of the npm package")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 200) == (scheme == "dark")
    page.evaluate(Path(AXE).read_text())
    found = page.evaluate("axe.run().then(result => result.violations)")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []


def test_of_thousands_of_images_those_on_the_screen_are_drawn(browser, folder, tmp_path):
    data = data_of(page_text(folder))
    data["images"] = [
        image | {"name": f"{number}-{image['name']}"}
        for number in range(334)
        for image in data["images"]
    ]
    text = re.sub(r'(?<=id="data">).*?(?=</script>)', lambda _: json.dumps(data), page_text(folder))
    (tmp_path / "many.html").write_text(text)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "many.html").as_uri())
    drawn = page.locator("#all canvas[data-drawn]")
    page.locator("#all canvas").first.scroll_into_view_if_needed()
    drawn.first.wait_for()
    assert page.locator("#all canvas").count() == 2004
    page.locator("#all button").first.focus()
    page.keyboard.press("End")
    page.locator("#all canvas[data-drawn]").last.wait_for()
    last = page.locator("#all canvas").last
    page.wait_for_function("canvas => canvas.dataset.drawn", arg=last.element_handle())
    assert drawn.count() < 200
    assert page.evaluate("kept.size") <= page.evaluate("NUM_KEPT")
    page.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.eval_on_selector_all(
        "p, td, th, label, figcaption",
        "all => all.map(e => parseFloat(getComputedStyle(e).fontSize))",
    )
    assert min(sizes) >= 12
