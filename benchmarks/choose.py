"""Whether settings that are chosen by synthetic anomalies are good for real ones: `jaxdpmm choose` against test labels.

Every setting that `choose` tries, but for rotated images, is fitted to the images that `choose` learns from, and judged
twice: by each recipe of synthetic anomalies, of images and of features, and by the labelled test images. All pixel
figures count pixels with the scores of their patches. Two questions are answered for every recipe and figure: how well
do the two orders of the settings agree (Spearman's rank correlation), and how much worse than the best setting is the
one that the recipe would choose (regret, in points), beside the regret of the settings that one starts from. Beside the
recipes stands how wide components are by how far apart they are, which needs no anomalies.

    python benchmarks/choose.py --data path/to/bottle --data elpv --json choose.json
    python benchmarks/tables.py choose choose.json

Every setting is written to `--json` when it is known, and what is there already is not computed anew. Features are kept
in `--cache`. Of more than 150 test images every second one counts.
"""

import argparse
import dataclasses
import json
import pathlib
import pickle
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from harness import write_report
from options import parser_of
from quality import known_records

from jaxdpmm.detection import DetectorConfig, ImagePatches, stream_patches
from jaxdpmm.detection.calibration import learned_and_held_out
from jaxdpmm.detection.choosing.choose import prepare, settings_to_try
from jaxdpmm.detection.choosing.synthetic import stock_of, synthetic_patches
from jaxdpmm.detection.choosing.trials import (
    Material,
    Tried,
    Truth,
    figures_of,
    fits,
    pixel_counts,
    rows_of,
    scored,
    truth_of,
)
from jaxdpmm.detection.learning import separation_facts
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set
from jaxdpmm.scoring import component_means

MANY_TESTS = 150
APART = "within_over_between"
NUM_OF_FEATURES = 36  # synthetic anomalies, beside those of images


def main() -> None:
    """Say which settings are known as they become so; write `--json`."""
    options = _options()
    config = DetectorConfig(backbone=options.backbone, short_side=options.short_side, whiten=False)
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    records = known_records(options.json, settings)
    backbone = load_backbone(options.backbone)
    config = config.resolved(backbone)
    configs = [one for one in settings_to_try(config) if one.rotations == 1]
    for data in options.data:
        name = pathlib.Path(data).name
        known = {json.dumps(r["setting"]): r for r in records if r["data"] == name}
        own = {one: known.get(json.dumps(changes(one, config))) for one in configs}
        wanted = [one for one, record in own.items() if record is None]
        unmeasured = [one for one, record in own.items() if record and APART not in record]
        if not wanted and not unmeasured:
            continue
        material, test = images_of(data, config, configs, backbone, options.cache / f"{name}.pkl")
        for tried in fits(material._replace(synthetic=[]), unmeasured):
            own[tried.config] |= {APART: width_over_distance(tried)}
            if options.json:
                write_report(options.json, records, config=settings)
        for found in measure(wanted, material, test):
            setting = changes(found.pop("config"), config)
            records.append({"data": name, "setting": setting, **found})
            print(f"{name}, {setting} done", file=sys.stderr, flush=True)
            if options.json:
                write_report(options.json, records, config=settings)


def changes(config: DetectorConfig, start: DetectorConfig) -> dict[str, Any]:
    """The settings that differ from those that one starts from, as JSON has them."""
    new, old = config.to_dict(), start.to_dict()
    return json.loads(json.dumps({n: value for n, value in new.items() if value != old[n]}))


def images_of(
    data: str, config: DetectorConfig, configs: Any, backbone: Any, cache: pathlib.Path
) -> tuple[Material, list[ImagePatches]]:
    """What settings are tried on, and the test images, with the features of all blocks that are tried."""
    if cache.exists():
        return pickle.loads(cache.read_bytes())
    data_set = open_data_set(data)
    learned, _ = learned_and_held_out(data_set.train, data_set.validation, 0.1, config.seed)
    material = prepare(learned, config, configs, backbone, progress=True)
    wide = dataclasses.replace(config, layers=material.layers)
    chosen = data_set.test[:: 1 + (len(data_set.test) > MANY_TESTS)]
    test = [
        one._replace(features=np.asarray(one.features, np.float16))
        for one in stream_patches(chosen, wide, backbone, progress="test images")
    ]
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(pickle.dumps((material, test)))
    return material, test


def measure(configs: Sequence[DetectorConfig], material: Material, test: list[ImagePatches]) -> Any:
    """Figures of each setting by each recipe and by the test images."""
    number = len(material.synthetic)
    both = material._replace(synthetic=[*material.synthetic, *test])
    truth = [truth_of(part) for part in (material.held_out, material.synthetic, test)]
    seen, of_features = None, []
    for tried in fits(both, configs):
        if tried.config.layers != seen:
            seen, of_features = tried.config.layers, changed_features(tried)
            truth_of_features = truth_of(of_features)
        images = tried.images
        normal, synthetic, real, changed = (
            scored(tried, part)
            for part in (
                images.held_out,
                images.synthetic[:number],
                images.synthetic[number:],
                of_features,
            )
        )
        recipes = by_recipe(normal, truth[0], synthetic, truth[1])
        recipes |= by_recipe(normal, truth[0], changed, truth_of_features)
        yield {
            "config": tried.config,
            "real": figures_of(real, pixel_counts(real, truth[2])),
            "recipes": recipes,
            APART: width_over_distance(tried),
            "num_components": tried.fitted.num_rows,
            "model_bytes": tried.fitted.num_bytes,
        }


def width_over_distance(tried: Tried) -> float | None:
    """How wide components are by how far their nearest neighbours lie, on held-out patches."""
    facts = separation_facts(tried.state, rows_of(tried.images.held_out), tried.config.seed)
    return facts.within_over_between


def changed_features(tried: Tried) -> list[ImagePatches]:
    """Synthetic anomalies of features, made of what a mixture of these features knows."""
    means = np.asarray(component_means(tried.state.mixture, tried.state.posterior))
    stock = stock_of(means, [one.features for one in tried.images.learned])
    return list(synthetic_patches(tried.images.held_out, stock, NUM_OF_FEATURES))


def by_recipe(
    normal: list[ScoredImage],
    truth_of_normal: list[Truth],
    synthetic: list[ScoredImage],
    truth: list[Truth],
) -> dict[str, dict[str, float]]:
    """Figures of the anomalies of each recipe against normal images."""
    kinds = [one.record.kind for one in synthetic]
    found = {}
    for kind in dict.fromkeys(kinds):
        some = [place for place, of in enumerate(kinds) if of == kind]
        images = [*normal, *(synthetic[place] for place in some)]
        counts = pixel_counts(images, [*truth_of_normal, *(truth[place] for place in some)])
        found[kind] = figures_of(images, counts)
    return found


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "backbone", "short-side", "cache", several=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
