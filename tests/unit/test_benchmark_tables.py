"""The tables of README from records, and pictures of the same; what the scripts compute is not looked at here."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    return load("tables")


def quality(seed, auroc, *, method="mixture", pixel=None, low=0.8):
    return {
        "data": "tiles",
        "method": method,
        "score": "cosine",
        "seed": seed,
        "image_auroc": auroc,
        "intervals": {"image_auroc": [low, 0.95]},
        **{f"pixel_{name}": pixel for name in ("auroc", "aupr", "aupro")},
        "model_bytes": 2_500_000,
        "scoring_ms": 1.25,
        "fit_seconds": 10 + 2 * seed,
    }


def inference(engine, seconds, **more):
    usual = {"num_images": 1, "dtype": "float32", "num_rows": 500}
    return {"engine": engine, "ours_seconds": seconds, **usual, **more}


MEMORY = [
    {"method": method, "num_images": number, "score_bytes": size * number, "model_bytes": 1e6}
    for method, size in (("mixture", 1e6), ("bank", 5e6))
    for number in (100, 50)
][:3]


def idea(seed, without, found):
    figures = ({"image_auroc": one, "pixel_auroc": None} for one in (without, found))
    named = dict(zip(("without", "with"), figures, strict=True))
    return {"data": "tiles", "idea": "fusion", "seed": seed, "ms_added": 1.0 + seed, **named}


def test_ideas_are_means_over_seeds_and_what_does_not_apply_is_left_out(tables):
    skipped = {"data": "tiles", "idea": "matching", "seed": 0, "skipped": "sizes differ"}
    *_, row = tables.ideas_table([idea(0, 0.8, 0.9), idea(1, 0.9, 0.9), skipped]).splitlines()
    assert row == "| tiles | fusion | 0.850 ± 0.071 / - | 0.900 ± 0.000 / - | 1.5 ± 0.7 |"


def test_quality_has_means_over_seeds_and_dashes_without_masks(tables):
    records = [
        quality(0, 0.9),
        quality(0, 0.7, method="bank", pixel=0.5),
        quality(1, 0.92, low=0.82),
    ]
    header, _, mixture, bank = tables.quality_table(records).split("\n")
    assert header.startswith("| data, method | score | image AUROC [95 % interval] |")
    assert mixture == (
        "| tiles, mixture | cosine | 0.910 ± 0.014 [0.810, 0.950] | - | - | - | 2.5 MB | 1.2 ± 0.0 ms | 11 ± 1 s | 2 |"
    )
    assert bank == (
        "| tiles, bank | cosine | 0.700 [0.800, 0.950] | 0.500 | 0.500 | 0.500 | 2.5 MB | 1.2 ms | 10 s | 1 |"
    )


def test_memory_has_a_row_a_number_of_images_and_a_dash_where_none_was_measured(tables):
    assert tables.memory_table(MEMORY).split("\n") == [
        "| images | mixture: peak, model | bank: peak, model |",
        "|---|---|---|",
        "| 50 | 50 MB, 1.0 MB | - |",
        "| 100 | 100 MB, 1.0 MB | 500 MB, 1.0 MB |",
    ]


def test_inference_is_per_image_and_leaves_out_what_is_no_scorer(tables):
    records = [
        inference("bank", 0.5, num_rows=10**5, num_images=8),
        {"name": "map-448", "ours_seconds": 1.0},
        inference("mixture, cosine, diagonal", 0.002, dtype="bfloat16"),
    ]
    assert tables.inference_table(records).split("\n")[2:] == [
        "| bank, 8 images at once | 100,000 | 62.50 |",
        "| mixture, cosine, diagonal, bfloat16 | 500 | 2.00 |",
    ]


def gpu(what, queued, *, rows, images=1, by="jaxdpmm", precision="tf32", **more):
    times = {"seconds": 2 * queued, "queued_seconds": queued, "launch_seconds": 1e-5}
    labels = {"device": "H100", "what": what, "rows": rows, "images": images, "by": by}
    return labels | {"precision": precision, "size": f"{rows} rows"} | times | more


def test_gpu_has_floors_errors_and_published_figures(tables):
    records = [
        gpu("bank", 0.006, rows=10**5, floor_seconds=0.002),
        gpu("mixture, cosine", 2e-5, rows=500, floor_seconds=1e-6),
        {"device": "cpu", "what": "bank", "by": "torch", "error": "torch is not installed"},
        {"device": "H100", "what": "sweep", "by": "published: X", "published_seconds": 0.152},
        {"device": "H100", "what": "memory", "bytes_limit": 1},
    ]
    assert tables.gpu_table(records).split("\n")[2:] == [
        "| H100 | bank | 100000 rows | tf32 | jaxdpmm | 12 ms | 6 ms | 3.0 |",
        "| H100 | mixture, cosine | 500 rows | tf32 | jaxdpmm | 0.04 ms | 0.02 ms | below a launch |",
        "| CPU rehearsal | bank |  |  | torch | torch is not installed | - | - |",
        "| H100 | sweep |  |  | published: X | 152 ms | - | - |",
    ]


def test_gpu_gains_compare_the_fastest_of_each_size_and_mark_what_is_launching(tables):
    records = [
        gpu("bank", 0.008, rows=10**4),
        gpu("bank", 0.004, rows=10**4, by="torch, matmul", precision="bfloat16"),
        gpu("bank", 0.4, rows=10**6),
        gpu("bank", 0.8, rows=10**6, images=8),
        gpu("mixture, cosine", 5e-5, rows=500),
        gpu("mixture, cosine", 4e-5, rows=500, precision="bfloat16"),
        gpu("mixture, cosine", 4e-4, rows=500, images=8),
        gpu("ViT-S/14", 0.01, rows=1),
        {"device": "H100", "what": "bank", "rows": 10**6, "images": 1, "error": "no memory"},
    ]
    assert tables.gpu_gains_table(records).split("\n")[2:] == [
        "| H100 | exact bank, ms per image | 1 |  | 4 ms (bfloat16) | 400 ms (tf32) |",
        "| H100 | mixture, cosine, K = 500, jaxdpmm: faster by | 1 | 0.04 ms (bfloat16) | 100 x * | 10,000 x * |",
        "| H100 | exact bank, ms per image | 8 |  | - | 100 ms (tf32) |",
        "| H100 | mixture, cosine, K = 500, jaxdpmm: faster by | 8 | 0.05 ms (tf32) | - | 2,000 x |",
    ]


def test_gpu_agreement_has_a_row_per_family_and_dashes_for_scores_it_has_not(tables):
    names = ("elbo_nats_per_point", "elbo_largest_fall_nats_per_point", "predictive_max_nats")
    found = {name: 10.0**-number for number, name in enumerate(names, start=3)}
    records = [
        {
            "device": "H100",
            "what": "agreement, full",
            "size": "9 x 2, K = 1",
            **found,
            "precision": "tf32",
        },
        {"device": "H100", "what": "agreement, diagonal", "error": "RuntimeError: no"},
        gpu("bank", 0.1, rows=3),
    ]
    assert tables.gpu_agreement_table(records).split("\n")[2:] == [
        "| H100 | full | 9 x 2, K = 1 | tf32 | 1.0e-03 | 1.0e-04 | 1.0e-05 | - | - | - | - | - | - |"
    ]


def test_records_of_several_files_are_one_list(tables, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f'{{"records": [{{"name": "{name}"}}]}}')
    found = tables.read_records([tmp_path / "a", tmp_path / "b"])
    assert [record["name"] for record in found] == ["a", "b"]


def test_pictures_show_every_line(tables, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tables", tables)
    plots = load("plots")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    banks = [inference("bank", 1.0, num_rows=n, bank_size=n) for n in (10**5, 10**4)]
    panels = {
        "inference": [*banks, inference("mixture, cosine, diagonal", 0.002)],
        "quality": [quality(0, 0.9), quality(0, 0.7, method="bank")],
        "memory": MEMORY,
    }
    plots.draw(panels, tmp_path / "all.png")
    growth, accuracy, memory = pyplot.gcf().axes
    assert growth.lines[0].get_xdata().tolist() == [10**4, 10**5]
    assert [text.get_text() for text in growth.get_legend().get_texts()] == [
        "exact bank",
        "mixture, cosine, diagonal, K = 500",
    ]
    assert len(accuracy.containers) == 2
    assert len(memory.lines) == 2
    assert pyplot.imread(tmp_path / "all.png").shape[0] > 300
    pyplot.close("all")


def test_every_method_has_a_marker_and_every_level_a_line_of_its_own(tables, tmp_path, monkeypatch):
    """As many as `quality.py` and `inference.py` write, which are more than there are colours."""
    monkeypatch.setitem(sys.modules, "tables", tables)
    plots = load("plots")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    panels = {
        "inference": [inference(f"mixture, {n}", 0.001 * (n + 1)) for n in range(15)],
        "quality": [quality(0, 0.9, method=f"method-{n}") for n in range(22)],
    }
    plots.draw(panels, tmp_path / "all.png")
    growth, accuracy = pyplot.gcf().axes
    levels = {(line.get_color(), line.get_linestyle()) for line in growth.lines}
    assert len(levels) == 15
    markers = {container[0].get_marker() for container in accuracy.containers}
    assert len(markers) == 22
    pyplot.close("all")


def test_time_against_components_and_accuracy_against_size(tables, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tables", tables)
    plots = load("plots")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    shared = {"score": "cosine", "peer": "product", "peer_seconds": 0.004, "num_images": 1}
    components = [
        shared | {"num_components": number, "ours_seconds": seconds}
        for number, seconds in ((3000, 0.02), (100, 0.002))
    ]
    with_masks = {"pixel_aupr": 0.5, "intervals": {"pixel_aupr": [0.4, 0.6]}}
    rows = [quality(0, 0.9) | with_masks, quality(0, 0.9) | {"data": "without masks"}]
    plots.draw({"components": components, "size": rows}, tmp_path / "all.png")
    growth, size = pyplot.gcf().axes
    times, plain, slope = growth.lines
    assert times.get_xdata().tolist() == [100, 3000]
    assert times.get_ydata().tolist() == [2, 20]
    assert plain.get_ydata()[0] == 4
    assert slope.get_ydata()[-1] == 4
    assert size.get_ylabel() == "pixel AUPR"
    assert len(size.containers) == 1
    pyplot.close("all")
