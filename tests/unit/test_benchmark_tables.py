"""The tables of README from records, and pictures of the same; what the scripts compute is not looked at here."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import frontier
import plots
import tables

ROOT = Path(__file__).parents[2]
KEPT = re.findall(
    r"((?:^\|.*\n)+)\n`python benchmarks/tables\.py (\S+)\s([^`]+)`",
    (ROOT / "benchmarks" / "README.md").read_text(),
    re.MULTILINE,
)  # tables with the command and the files below them


def quality(seed, auroc, *, method="mixture", pixel=None, low=0.8):
    return {
        "data": "tiles",
        "method": method,
        "score": "cosine",
        "seed": seed,
        "image_auroc": auroc,
        "intervals": {"image_auroc": [low, 0.95], "pixel_aupr": [0.4, 0.6]},
        **{f"pixel_{name}": pixel for name in ("auroc", "aupr", "aupro")},
        "model_bytes": 2_500_000,
        "scoring_ms": 1.25,
        "scoring_cpu_ms": 2.5,
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


def test_contamination_by_rate_with_what_was_left_out():
    def row(seed, rate, method, auroc, mixed=0):
        number = round(100 * rate)
        left_out = {"num_mixed": number, "trimmed_mixed": mixed, "trimmed_normal": mixed // 10}
        key = {"data": "cells", "seed": seed, "rate": rate, "method": method}
        return key | left_out | {"image_auroc": auroc, "pixel_aupr": None}

    records = [
        *(row(seed, 0.4, "trimmed", 80.0 + seed, 30) for seed in range(2)),
        row(0, 0.0, "trimmed", 90.0),
        row(0, 0.4, "bank", 60.0),
    ]
    header, _, trimmed, bank = tables.contamination_table(records).splitlines()
    assert [cell.strip() for cell in header.split("|")[3:5]] == ["0 %", "40 %"]
    assert "90.0 | 80.5 ± 0.7 (30 of 40, 3 normal)" in " ".join(trimmed.split())
    assert "- | 60.0" in " ".join(bank.split())


def test_ideas_are_means_over_seeds_and_what_does_not_apply_is_left_out():
    skipped = {"data": "tiles", "idea": "matching", "seed": 0, "skipped": "sizes differ"}
    *_, row = tables.ideas_table([idea(0, 0.8, 0.9), idea(1, 0.9, 0.9), skipped]).splitlines()
    assert (
        row == "| tiles | fusion | 0.850 ± 0.071 / - / - | 0.900 ± 0.000 / - / - | 1.5 ± 0.7 | 2 |"
    )
    parts = {name: {"image_auroc": value} for name, value in (("without", 0.7), ("with", 0.6))}
    known = idea(0, 0.8, 0.9) | {"seen": parts, "unseen": parts}
    *_, row = tables.ideas_table([known]).splitlines()
    assert row == "| tiles | fusion, other kinds | 0.700 / - / - | 0.600 / - / - | - | 1 |"
    moved = idea(0, 0.8, 0.9) | {"idea": "context", "moved": parts}
    *_, row = tables.ideas_table([moved]).splitlines()
    assert row.startswith("| tiles | context, parts in a wrong place | 0.700 / - / - | 0.600")
    merged = idea(0, 0.8, 0.9) | {"idea": "sites", "alone": parts["with"], "even": parts["without"]}
    *_, row = tables.ideas_table([merged]).splitlines()
    assert row == "| tiles | sites, all as one, evenly | 0.800 / - / - | 0.700 / - / - | - | 1 |"


def test_false_positives_on_hard_images_are_means_over_seeds():
    rates = [
        {"data": "tiles", "hard_fpr95": dict.fromkeys(("with", "fused", "fused_by_atypical"), 0.2)}
        | {"seed": seed}
        for seed in (0, 1)
    ]
    for one, rate in zip(rates, (0.3, 0.5), strict=True):
        one["hard_fpr95"]["without"] = rate
    *_, row = tables.hard_table([*rates, idea(0, 0.8, 0.9)]).splitlines()
    assert row == "| tiles | 40 | 20 | 20 | 20 | 2 |"


def test_quality_has_means_over_seeds_and_dashes_without_masks():
    records = [
        quality(0, 0.9),
        quality(0, 0.7, method="bank", pixel=0.5),
        quality(1, 0.92, low=0.82),
    ]
    header, _, mixture, bank = tables.quality_table(records).split("\n")
    assert header.startswith("| data, method | score | image AUROC [95 %] |")
    assert mixture == (
        "| tiles, mixture | cosine | 0.910 ± 0.014 [0.810, 0.950] | - | - | - | 2.5 MB | 1.2 ± 0.0 ms | 2.5 ± 0.0 ms "
        "| 11 ± 1 s | 2 |"
    )
    assert bank == (
        "| tiles, bank | cosine | 0.700 [0.800, 0.950] | 0.500 | 0.500 [0.400, 0.600] | 0.500 | 2.5 MB | 1.2 ms "
        "| 2.5 ms | 10 s | 1 |"
    )


def test_quality_says_the_recall_of_a_search_and_its_settings():
    searches = [
        quality(seed, 0.9, method="hnsw-95") | {"recall": recall, "settings": {"efSearch": value}}
        for seed, recall, value in ((0, 0.96, 20), (1, 0.95, 17))
    ]
    row = tables.quality_table(searches).splitlines()[-1]
    assert row.startswith("| tiles, hnsw-95 (recall 0.955, efSearch 17 to 20) |")
    assert "efSearch 20) |" in tables.quality_table(searches[:1])


def test_every_method_is_set_beside_the_bank_of_its_seed():
    records = [
        quality(seed, auroc, method=method, pixel=0.5 + ahead)
        | {"scoring_cpu_ms": cost, "model_bytes": cost}
        for method, ahead, cost in (("bank", 0.0, 500), ("fast", 0.02, 5))
        for seed, auroc in enumerate((0.8, 0.9) if method == "bank" else (0.82, 0.9))
    ]
    alone = quality(7, 0.1, method="other")
    rows = tables.against_bank_table([*records, alone]).splitlines()[2:]
    assert rows == [
        "| tiles, fast, cosine | +1.0 ± 1.4 | +2.0 ± 0.0 | +2.0 ± 0.0 | +2.0 ± 0.0 | 1/100 | 1/100 |"
    ]


def test_memory_has_a_row_a_number_of_images_and_a_dash_where_none_was_measured():
    assert tables.memory_table(MEMORY).split("\n") == [
        "| images | mixture: peak, model | bank: peak, model |",
        "|---|---|---|",
        "| 50 | 50 MB, 1.0 MB | - |",
        "| 100 | 100 MB, 1.0 MB | 500 MB, 1.0 MB |",
    ]


def test_inference_is_per_image_and_leaves_out_what_is_no_scorer():
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


def test_gpu_has_floors_errors_and_published_figures():
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


def test_gpu_gains_compare_the_fastest_of_each_size_and_mark_what_is_launching():
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


def test_gpu_agreement_has_a_row_per_family_and_dashes_for_scores_it_has_not():
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


def test_records_of_several_files_are_one_list(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f'{{"records": [{{"name": "{name}"}}]}}')
    found = tables.read_records([tmp_path / "a", tmp_path / "b"])
    assert [record["name"] for record in found] == ["a", "b"]


@pytest.mark.parametrize(("shown", "kind", "files"), KEPT, ids=[kind for _, kind, _ in KEPT])
def test_the_rows_of_readme_are_those_of_the_files_named_below_them(shown, kind, files):
    made = tables.TABLES[kind](tables.read_records(ROOT / name for name in files.split()))
    assert set(shown.splitlines()) <= set(made.splitlines())


def test_pictures_show_every_line(tmp_path):
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


def test_every_method_has_a_marker_and_every_level_a_line_of_its_own(tmp_path):
    """As many as `quality.py` and `inference.py` write, which are more than there are colours."""
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


def test_table_of_components_has_processor_times_and_their_slope():
    def of(score, number, seconds, **more):
        runs = {"ours_runs": [(9, seconds)] * 3, "peer_runs": [(9, 0.004)] * 3}
        more |= {"peer": "product, 500 rows", "num_images": 1}
        return {"score": score, "num_components": number, **runs, **more}

    records = [of("cosine", 100, 0.001, missed=0.0), of("cosine", 10_000, 0.01, missed=0.0004)]
    records.append(of("nearest_predictive", 10_000, 0.02))
    records.append(of("nearest_predictive", 100, 0.02))
    assert tables.components_table(records).splitlines() == [
        "| components | cosine | nearest_predictive | product, 500 rows | missed |",
        "|---|---|---|---|---|",
        "| 100 | 1.0 | 20.0 | 4.0 | 0.0000 |",
        "| 10,000 | 10.0 | 20.0 | 4.0 | 0.0004 |",
        "| slope | 0.50 | 0.00 | - | - |",
    ]


def test_time_against_components(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    shared = {"score": "cosine", "peer": "product", "peer_seconds": 0.004, "num_images": 1}
    components = [
        shared | {"num_components": number, "ours_seconds": seconds}
        for number, seconds in ((3000, 0.02), (100, 0.002))
    ]
    plots.draw({"components": components}, tmp_path / "all.png")
    times, plain, slope = pyplot.gcf().axes[0].lines
    assert times.get_xdata().tolist() == [100, 3000]
    assert times.get_ydata().tolist() == [2, 20]
    assert plain.get_ydata()[0] == 4
    assert slope.get_ydata()[-1] == 4
    pyplot.close("all")


def frontier_records():
    """Two sets of which one has masks; the coreset was measured on one of them alone, "accurate" with two scores."""
    methods = {"bank": (0.9, 400), "fast": (0.91, 4), "hnsw-99": (0.89, 50), "patchcore": (0.5, 5)}
    for data, pixel in (("tiles", 0.4), ("cells", None)):
        for method, (auroc, cost) in methods.items():
            more = {"data": data, "scoring_cpu_ms": cost, "model_bytes": cost * 1e6}
            yield quality(0, auroc, method=method, pixel=pixel) | more
    yield quality(0, 0.99, method="coreset", pixel=0.4)
    yield quality(0, 0.99, method="accurate", pixel=0.4) | {"score": "no preset's"}


def test_the_frontier_is_of_methods_that_were_measured_everywhere():
    records = list(frontier_records())
    found = frontier.points_of(records, "image_auroc", "scoring_cpu_ms", 1.0)
    assert [point.method for point in found] == ["bank", "fast", "hnsw-99", "patchcore"]
    assert found[0] == ("bank", 400, pytest.approx(90))
    assert [point.method for point in frontier.best_of(found)] == ["fast"]
    assert len(frontier.points_of(records, "pixel_aupr", "model_bytes", 1e6)) == 5


def test_the_frontier_has_four_panels_and_a_label_beside_each_point(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    plots.draw({"frontier": list(frontier_records())}, tmp_path / "all.png")
    figure = pyplot.gcf()
    assert [axes.get_ylabel() for axes in figure.axes] == [
        *["pixel AUPR, %, tiles"] * 2,
        *["image AUROC, %, mean of 2 sets"] * 2,
    ]
    texts = [text for text in figure.axes[2].texts if text.get_text() != frontier.SEARCHES]
    assert [text.get_text() for text in texts] == [
        *("fast", "exact bank", "HNSW", "PatchCore 1 %: 50.0, below")
    ]
    boxes = [text.get_window_extent().extents for text in texts]
    assert not any(frontier.overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    pyplot.close("all")
