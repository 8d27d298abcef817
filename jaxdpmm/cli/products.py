"""What the commands do with several products: `jaxdpmm fit --products`, and `score` and `evaluate` with such a model.

Read `../detection/products/detector.py` next.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdpmm.cli.places import holds_products
from jaxdpmm.cli.terminal import load_detector, size_text, table, write_json

if TYPE_CHECKING:  # loads JAX
    from jaxdpmm.detection import Detector, ProductDetector


def load_any(model: Path, backbone: str | None) -> Any:
    """The detector of a model file, or the detectors of several products."""
    if not holds_products(model):
        return load_detector(model, backbone)
    from jaxdpmm.detection import ProductDetector
    from jaxdpmm.detection.products.file import read_products
    from jaxdpmm.features import load_backbone

    if backbone is None:
        return ProductDetector.load(model)
    config = next(iter(read_products(model).values()))[0][0]
    return ProductDetector.load(model, backbone=load_backbone(backbone, dtype=config.dtype))


def fit_products(
    data: str, output: Path, config: Any, json: Path | None, options: Mapping[str, Any]
) -> None:
    """Learn every product of a folder, and say what was learned."""
    from jaxdpmm.detection import ProductDetector
    from jaxdpmm.images.layouts import open_products

    begin = time.perf_counter()
    detector = ProductDetector.fit(open_products(data), config, **options)
    detector.save(output)
    seconds = time.perf_counter() - begin
    found = {
        name: {
            "num_components": product.detector.state.mixture.num_components,
            **product.detector.state.facts._asdict(),
        }
        for name, product in detector.products.items()
    }
    size = output.stat().st_size
    result = {"model": str(output), "model_bytes": size, "products": found, "seconds": seconds}
    write_json(json, {**result, "config": detector.config.to_dict()})
    rows = [
        [name, str(one["num_images"]), f"{one['num_patches']:,}", str(one["num_components"])]
        for name, one in found.items()
    ]
    print(table(("product", "images", "patches", "components"), rows))
    print(f"{output}: {size_text(size)}, {len(found)} products; {seconds:.1f} s")


def scored_rows(
    detector: "Detector | ProductDetector", records: Sequence[Any], rate: float, strict: bool
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each image as it was scored, and what a row says beside its score."""
    from jaxdpmm.detection import ProductDetector
    from jaxdpmm.detection.products.figures import NONE

    options: dict[str, Any] = {"strict": strict, "progress": "images"}
    if not isinstance(detector, ProductDetector):
        for scored in detector.score(records, components=True, **options):
            p_value = detector.p_value(scored)
            called = None if p_value is None else p_value <= rate
            yield scored, {"p_value": p_value, "anomalous": called}
        return
    for one in detector.score(records, rate=rate, **options):
        yield (
            one.scored,
            {
                "p_value": one.p_value,
                "anomalous": one.is_anomalous(rate),
                "product": one.route.product or NONE,
                "likeliest": one.route.likeliest,
                "product_p_value": one.route.p_value,
            },
        )


def products_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many images there are of each product."""
    counts = Counter(row["product"] for row in rows)
    called = sum(bool(row["anomalous"]) for row in rows)
    return f"{called} called anomalous; " + ", ".join(
        f"{n} of {name}" for name, n in counts.items()
    )


def evaluate_products(
    model: Path,
    data: str,
    backbone: str | None,
    strict: bool,
    json: Path | None,
    output: Path | None,
) -> None:
    """Figures of each product, and which is taken for which."""
    from jaxdpmm.detection import evaluate_products as figures_of
    from jaxdpmm.detection.reporting.runs import write_run
    from jaxdpmm.images.layouts import open_products

    detector = load_any(model, backbone)
    figures, images = figures_of(detector, open_products(data), strict=strict, progress=True)
    name = Path(data).resolve().name
    result = {"model": str(model), "data": name, **figures}
    write_json(json, result)
    if output is not None:
        scored = [one.scored for one in images]
        write_run(output, detector, scored, model=str(model), data=name, figures=result)
    print(figures_text(result))
    print(confusion_text(result))


def figures_text(result: Mapping[str, Any]) -> str:
    """A figure per row, a product per column."""
    from jaxdpmm.detection.evaluate import LABELS

    products = result["products"]
    rows = [
        [label, *("" if one[name] is None else f"{one[name]:.4f}" for one in products.values())]
        for name, label in LABELS.items()
        if any(one[name] is not None for one in products.values())
    ]
    return table(("", *products), rows)


def confusion_text(result: Mapping[str, Any]) -> str:
    """How many images of each product are taken for which."""
    from jaxdpmm.detection.products.figures import confusion_rows

    names, rows = confusion_rows(result["confusion"])
    counts = table(("taken for", *names), [[label, *map(str, row)] for label, row in rows])
    if result["share_right"] is None:
        return counts
    return (
        f"{counts}\n{result['share_right']:.1%} of the normal images are of the right product, "
        f"{result['share_none']:.1%} of none (rate {result['rate']:.0%})"
    )
