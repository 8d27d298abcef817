"""Several products in one model: how often an image goes to its product, and what becomes of a product nobody learned.

Every data set is a product; some training and test images of each suffice. Then each product in turn is unknown: the
images that went to the others or to none are counted under the routers of the others, which need no new fit.

    python benchmarks/products.py --data path/to/tiles --data path/to/bottles --json products.json

Read `layers.py` for which features.
"""

import argparse
import pathlib
from typing import Any

import numpy as np
from harness import write_report
from options import parser_of

from jaxdpmm.detection import DetectorConfig, ProductDetector, evaluate_products
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.images.records import NORMAL, DataSet

SHOWN = ("image_auroc", "pixel_auroc", "pixel_aupr")


def main() -> None:
    """Print which products are taken for which, and the figures of each; write `--json`."""
    options = _options()
    config = DetectorConfig(backbone=options.backbone, short_side=options.short_side, whiten=False)
    data = {
        pathlib.Path(path).name: some_of(open_data_set(path), options.num_images)
        for path in options.data
    }
    detector = ProductDetector.fit(data, config, progress=True)
    found, _ = evaluate_products(detector, data, rate=options.rate, progress=True)
    unknown = none_when_unknown(detector, data, options.rate)
    records = [
        {
            "product": name,
            "num_train": detector.products[name].detector.state.facts.num_images,
            **{figure: found["products"][name][figure] for figure in SHOWN},
            "taken_for": found["confusion"][name],
            "none_when_unknown": unknown[name],
        }
        for name in data
    ]
    for row in records:
        print(row)
    shares = {name: found[name] for name in ("share_right", "share_none", "rate", "num_test")}
    print(shares)
    if options.json:
        write_report(options.json, records, **shares)


def some_of(data: DataSet, number: int) -> DataSet:
    """A data set of at most so many images to learn from, and half as many normal and anomalous ones to test."""
    normal = [record for record in data.test if record.label == NORMAL]
    others = [record for record in data.test if record.label != NORMAL]
    test = (*_spread(normal, number // 2), *_spread(others, number // 2))
    return DataSet(data.name, tuple(_spread(data.train, number)), test)


def none_when_unknown(
    detector: ProductDetector, data: dict[str, DataSet], rate: float
) -> dict[str, float]:
    """Share of a product's test images that are of none, where the product itself is not known."""
    shares = {}
    for name, part in data.items():
        others = {other: found for other, found in detector.products.items() if other != name}
        images = ProductDetector(others).score(part.test, rate=rate)
        shares[name] = float(np.mean([one.route.product is None for one in images]))
    return shares


def _spread(records: Any, number: int) -> list[Any]:
    """Some of the records at even distances."""
    places = np.linspace(0, len(records), min(number, len(records)), endpoint=False).astype(int)
    return [records[place] for place in places]


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "backbone", several=True)
    parser.add_argument("--num-images", type=int, default=60, help="to learn from, per product")
    parser.add_argument("--rate", type=float, default=0.05, help="of normal images that are none")
    parser.add_argument("--short-side", type=int, default=224)
    return parser.parse_args()


if __name__ == "__main__":
    main()
