"""What each idea of a related system brings: the same detector with and without it, on real images.

The detector is that of the default settings. Features come from the same cache as those of `quality.py`. Every record
has the figures without and with the idea on the same images, and the milliseconds per image that it adds, of all
threads. To be cheap, at most 60 training images are learned from, drawn by the seed, at most 70 test images count, and
of their pixels every third row and column.

    python benchmarks/ideas.py --data path/to/bottle --short-side 336 --json ideas.json
    python benchmarks/ideas.py --data elpv --idea fusion --short-side 336 --json ideas.json

Every record is written to `--json` when it is known, and what is there already is not computed anew: a run may be cut
and gone on with. With `--fits FOLDER` the mixture of each data set and seed is kept as well; empty the folder after a
change of the library.

`known-N` learns from N of the anomalous test images, of every second kind, and is judged by the others, those of kinds
that it has seen and of others apart. `unlabelled-P` learns from at most 40 test images that it is not judged by, P in a
hundred of which are anomalous, without their labels. All other ideas see normal images only.
`context` is judged by real anomalies, and by parts of images in wrong places (`ideas_context.py`). `separation` changes
no score. `sites` compares the exact merge of sites with the merge that is weighed for each image.
`residual` is another score in place of the detector's. `atypical` leaves the most atypical tenth of the training images
out for its "without", and keeps them, as the detector does, for its "with". Other ideas are fused with the detector's
score by the sum, and by the largest beside it.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from harness import write_report
from ideas_atypical import atypical
from ideas_context import context
from ideas_data import (
    DENSITY,
    Setting,
    features_of,
    figures,
    fitted_setting,
    labels_by,
    timed,
    whole_scores,
)
from ideas_more import Outcome, joined, known, unlabelled
from ideas_sites import sites
from options import parser_of
from quality import known_records
from tables import ideas_table

from jaxdpmm.detection import DetectorConfig, compile_scorer
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.scores.histograms import histogram_score, learn_histograms
from jaxdpmm.detection.scores.matching import learn_places, match
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.features import load_backbone
from jaxdpmm.scoring import component_means
from jaxdpmm.separation import separation


def fusion(setting: Setting) -> Outcome:
    """The detector's score and the density, each a p-value among held-out normal patches."""
    score = compile_scorer(*setting.state.scorer(DENSITY))
    density, seconds = timed(score, features_of(setting.test))
    held_out = [score(one) for one in features_of(setting.held_out)]
    return joined(setting, held_out, density, seconds, more={"density": figures(setting, density)})


def fusion_low_rank(setting: Setting) -> Outcome:
    """The detector's score, and two of low-rank components from the same seeds."""
    low_rank = _low_rank(setting)
    scores = {name: compile_scorer(*low_rank.scorer(name)) for name in ("residual", "spherical")}

    def score(features: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(one(features)) for one in scores.values()])

    found, seconds = timed(score, features_of(setting.test))
    held_out = [score(one) for one in features_of(setting.held_out)]
    more = {
        name: figures(setting, [one[place] for one in found]) for place, name in enumerate(scores)
    }
    return joined(setting, held_out, found, seconds, more=more)


def residual(setting: Setting) -> Outcome:
    """The distance to the nearest low-rank component along none of its directions, in place of the detector's score."""
    score = compile_scorer(*_low_rank(setting).scorer("residual"))
    found, seconds = timed(score, features_of(setting.test))
    density = compile_scorer(*setting.state.scorer(DENSITY))
    more = {"density": figures(setting, [density(one) for one in features_of(setting.test)])}
    return Outcome([np.asarray(one) for one in found], seconds, more=more)


def _low_rank(setting: Setting) -> DetectorState:
    """Low-rank components from the seeds of the detector's."""
    if "low_rank" not in setting.shared:
        rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in setting.train])
        config = dataclasses.replace(setting.config, covariance="low_rank", rank=8)
        setting.shared["low_rank"] = fit_mixture(rows, config)
    return setting.shared["low_rank"]


def matching(setting: Setting) -> Outcome:
    """The detector's score, and both directions of mutual matching."""
    means = component_means(setting.state.mixture, setting.state.posterior)
    half = len(setting.held_out) // 2
    held_out = features_of(setting.held_out)
    places = learn_places(means, setting.train, held_out[:half])

    def score(features: np.ndarray) -> np.ndarray:
        return np.stack(jax.device_get(tuple(match(places, features))))

    found, seconds = timed(score, features_of(setting.test))
    normal = [score(one) for one in held_out[half:]]
    alone = {
        name: figures(setting, [one[place] for one in found])
        for place, name in enumerate(("forward", "backward"))
    }
    return joined(setting, normal, found, seconds, more=alone)


def divergence(setting: Setting) -> Outcome:
    """The image's score and the divergence of its histogram, each in standard deviations of held-out images."""
    labels, number = labels_by(setting.state), setting.state.mixture.num_components

    def counts(features: np.ndarray) -> np.ndarray:
        return np.bincount(labels(features).ravel(), minlength=number)

    normal = learn_histograms(np.stack([counts(one) for one in setting.train]))
    found, seconds = timed(
        lambda one: histogram_score(normal, counts(one)), features_of(setting.test)
    )
    held_out = [histogram_score(normal, counts(one)) for one in features_of(setting.held_out)]
    base = [whole_scores(setting, grids) for grids in (setting.base_held_out, setting.base_test)]
    whole = sum(
        (np.asarray(new) - np.mean(of)) / np.std(of)
        for of, new in ((base[0], base[1]), (held_out, found))
    )
    alone = figures(setting, setting.base_test, whole=found)["image_auroc"]
    return Outcome(setting.base_test, seconds, whole=whole, more={"alone": alone})


def apart(setting: Setting) -> Outcome:
    """Compactness and separation of the components on held-out patches."""
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in features_of(setting.held_out)])
    some = rows[:: -(-len(rows) // 4096)]
    found = separation(setting.state.mixture, setting.state.posterior, some)
    return Outcome(setting.base_test, [0.0, 0.0], more=found.over_points())


IDEAS: dict[str, Callable[[Setting], Outcome]] = {
    "fusion": fusion,
    "fusion-low-rank": fusion_low_rank,
    "residual": residual,
    "context": context,
    "matching": matching,
    "divergence": divergence,
    **{f"known-{n}": (lambda setting, n=n: known(n, setting)) for n in (1, 5, 20)},
    **{f"unlabelled-{p}": (lambda setting, p=p: unlabelled(p, setting)) for p in (5, 20, 50)},
    "sites": sites,
    "separation": apart,
    "atypical": atypical,
}


def main() -> None:
    """Say which records are known as they become so, then print the table; write `--json`."""
    options = _options()
    config = DetectorConfig(backbone=options.backbone, short_side=options.short_side, whiten=False)
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    records = known_records(options.json, settings)
    backbone = load_backbone(options.backbone)
    for data in options.data:
        for seed in range(options.seeds):
            name_of_data = pathlib.Path(data).name
            done = {r["idea"] for r in records if (r["data"], r["seed"]) == (name_of_data, seed)}
            wanted = [name for name in options.idea if name not in done]
            if not wanted:
                continue
            seeded = dataclasses.replace(config, seed=seed)
            setting = fitted_setting(data, seeded, backbone, options.cache, options.fits)
            for name in wanted:
                found = measure(name, setting)
                records.append({"data": name_of_data, "idea": name, "seed": seed, **found})
                print(f"{name_of_data}, {name}, seed {seed} done", file=sys.stderr)
                if options.json:
                    write_report(options.json, records, config=settings)
    print(ideas_table(records))


def measure(name: str, setting: Setting) -> dict[str, Any]:
    """Figures without and with an idea; the reason where it does not apply."""
    try:
        outcome = IDEAS[name](setting)
    except ValueError as reason:
        return {"skipped": str(reason)}
    return {
        "without": figures(setting, outcome.base or setting.base_test, outcome.chosen),
        "with": figures(setting, outcome.grids, outcome.chosen, outcome.whole),
        "ms_added": 1e3 * statistics.median(outcome.seconds[1:]),
        **outcome.more,
    }


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "backbone", "seeds", "cache", several=True)
    parser.add_argument("--idea", action="append", choices=sorted(IDEAS), help="repeatable")
    parser.add_argument("--short-side", type=int, default=448)
    parser.add_argument("--fits", type=pathlib.Path, help="folder to keep mixtures in")
    options = parser.parse_args()
    options.idea = options.idea or list(IDEAS)
    return options


if __name__ == "__main__":
    main()
