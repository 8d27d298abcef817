"""How good every method is: data set x method x seed -> all metrics, sizes and times, with intervals over images.

Features are extracted once into a cache and shared by all methods and seeds, so that only scoring differs. Data sets
are folders in the layout of MVTec AD, VisA, BTAD or BMAD; "elpv" is fetched. Thresholds of Dice come from the
validation images of a data set, or from a tenth of its training images that no method learns from.

    python benchmarks/quality.py --data path/to/bottle --seeds 3 --json quality.json
    python benchmarks/quality.py --data elpv --method bank --seeds 1 --short-side 294 --json cells.json

Every row is written to `--json` when it is known, and what is there already is not computed anew: a run may be cut and
gone on with. Seeds draw the images that are held out, and whatever is random in a method.

`anomalydino` is the memory bank with 8 rotations of the references and the background of test images left out, and
`anomalydino-16` the same with 16 references, of the images that are not held out those that AnomalyDINO takes for the
seed; a mixture is fitted once for all of its scores. All times are medians per image, one image at a time, by the clock
on the wall and, as `scoring_cpu_ms`, of all threads, which other programs on the machine disturb less.
Read `tables.py` and `plots.py` for what becomes of the file.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from harness import write_report
from mixtures import cascade, of_mixture
from options import parser_of
from peers import PEERS, Learned, Peer
from table_parts import called
from tables import quality_table
from variants import DEFAULT, VARIANTS, Variant

from jaxdpmm.choices import is_joint
from jaxdpmm.detection import DetectorConfig, ImagePatches, score_images, stream_patches
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.calibration import learned_and_held_out
from jaxdpmm.detection.evaluate import evaluate
from jaxdpmm.detection.few_shot import choose_references
from jaxdpmm.detection.fitting import fit_mixture
from jaxdpmm.detection.leaving_out import fuse_scores
from jaxdpmm.detection.methods import CORESET_SHARE, METHODS
from jaxdpmm.detection.patches import TrainingPatches
from jaxdpmm.detection.scored import ScoredImage, ScorePatches
from jaxdpmm.detection.training import training_patches
from jaxdpmm.features import load_backbone
from jaxdpmm.images.layouts import open_data_set

MOST_QUERIES = 4096  # held-out patches that the recall of a search is measured on


class Images(NamedTuple):
    """Patch features of images that are only scored."""

    held_out: list[ImagePatches]
    test: list[ImagePatches]


def main() -> None:
    """Say which rows are known as they become so, then print the table; write `--json`."""
    options = _options()
    config = DetectorConfig(
        backbone=options.backbone,
        layers=tuple(options.layer) if options.layer else None,
        short_side=options.short_side,
        shape=options.shape,
        start="k-means",
        covariance="diagonal",
        num_components=options.num_components,
        num_epochs=options.num_epochs,
        tolerance=options.tolerance,
        whiten=False,
    )
    settings = plain(config)
    records = known_records(options.json, settings)
    backbone = load_backbone(options.backbone)
    for data in options.data:
        for seed in range(options.seeds):
            done = {r["method"] for r in records if (r["path"], r["seed"]) == (data, seed)}
            wanted = [name for name in options.method if name not in done]
            seeded = dataclasses.replace(config, seed=seed)
            for found in measure(data, wanted, seeded, backbone, options.cache):
                records += found
                print(f"{data}, {found[0]['method']}, seed {seed} done", file=sys.stderr)
                if options.json:
                    write_report(options.json, records, config=settings)
    print(quality_table(records))


def plain(config: DetectorConfig) -> dict[str, Any]:
    """Settings as a report has them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def known_records(path: pathlib.Path | None, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What an earlier run with the same settings has written."""
    if path is None or not path.exists():
        return []
    report = json.loads(path.read_text())
    if {**plain(DetectorConfig()), **report["config"]} != settings:  # with settings that are newer
        sys.exit(
            f"--json must be a new file or one of the same settings, got {path}; name another."
        )
    return report["records"]


def measure(
    data: str, names: list[str], config: DetectorConfig, backbone: Any, cache: pathlib.Path
) -> Iterator[list[dict[str, Any]]]:
    """The records of each method on one data set with one seed, one a score."""
    if not names:
        return
    data_set = open_data_set(data)
    learned, held_out = learned_and_held_out(
        data_set.train, data_set.validation, config.held_out, config.seed
    )
    images = Images(
        *(
            list(cached_patches(part, config, backbone, cache, progress="images")) if part else []
            for part in (held_out, data_set.test)
        )
    )
    backbone_ms = _backbone_ms(data_set.test[:5], config, backbone)

    @functools.lru_cache(maxsize=1)  # most methods learn from the same
    def training(num_shots: int | None, rotations: int) -> tuple[Sequence[Any], TrainingPatches]:
        few = learned if num_shots is None else choose_references(learned, num_shots, config.seed)
        rotated = dataclasses.replace(config, rotations=rotations)
        patches = training_patches(few, rotated, backbone, cache=cache)
        return few, patches._replace(features=np.asarray(patches.features))

    for name in names:
        settings = dataclasses.replace(config, **VARIANTS[name].changes)
        references, patches = training(settings.num_shots, settings.rotations)
        shared = {
            "data": data_set.name,
            "path": data,
            "method": name,
            "seed": config.seed,
            "num_train": len(references),
            "num_patches": len(patches.features),
            "backbone_ms": backbone_ms,
        }
        found = learn(VARIANTS[name], patches, settings, queries_of(images))
        yield [
            shared
            | {"score": score, "fit_seconds": seconds, **peer.extras}
            | figures(peer, images, settings)
            for score, peer, seconds in found
        ]


def queries_of(images: Images) -> np.ndarray:
    """Patches of held-out images, or of test images where none are held out, evenly taken."""
    all_of_them = np.concatenate(
        [one.features.reshape(-1, one.features.shape[-1]) for one in images.held_out or images.test]
    )
    return all_of_them[:: -(-len(all_of_them) // MOST_QUERIES)]


def learn(
    variant: Variant, patches: TrainingPatches, config: DetectorConfig, queries: np.ndarray
) -> list[tuple[str, Peer, float]]:
    """Score, what was learned for it, and seconds that this took; a mixture is fitted once for all of its scores."""
    features = patches.features
    begin = time.perf_counter()
    if variant.method in PEERS:
        grids = tuple(grid for _, grid in patches.sources)
        num_rows = round(CORESET_SHARE * len(features))
        peer = PEERS[variant.method](Learned(features, grids, queries, num_rows, config.seed))
        return [("cosine", peer, time.perf_counter() - begin)]
    if not variant.scores:
        peer = Peer(METHODS[variant.method](features, config))
        return [("cosine", peer, time.perf_counter() - begin)]
    state = fit_mixture(features, config)
    if variant.scores == ("cascade",):
        return [("cascade", cascade(features, state), time.perf_counter() - begin)]
    if is_joint(config.score):
        state = fuse_scores(state, patches, config)
    seconds = time.perf_counter() - begin
    return [
        (called(score), of_mixture(state, score, config, queries), seconds)
        for score in variant.scores
    ]


def figures(peer: Peer, images: Images, config: DetectorConfig) -> dict[str, Any]:
    """Accuracy, time and size of one score."""
    fitted = peer.fitted
    held_out = scored(images.held_out, peer, config)
    clocked, seconds = on_processors(fitted.score_patches)
    timed = peer._replace(fitted=fitted._replace(score_patches=clocked))
    test = scored(images.test, timed, config)
    found = evaluate(test, config.sigma, normal=held_out, seed=config.seed)
    del found["backbone_ms"]  # features come from the cache
    return {
        "num_held_out": len(held_out),
        "num_test": len(test),
        "num_rows": fitted.num_rows,
        "model_bytes": fitted.num_bytes,
        **found,
        "scoring_cpu_ms": 1e3 * statistics.median(seconds),
    }


def on_processors(score_patches: ScorePatches) -> tuple[ScorePatches, list[float]]:
    """The same scores, and a list of the processor seconds of all threads that each call takes."""
    seconds: list[float] = []

    def clocked(features: Any) -> Any:
        begin = time.process_time()
        scores = np.asarray(score_patches(features))
        seconds.append(time.process_time() - begin)
        return scores

    return clocked, seconds


def scored(patches: list[ImagePatches], peer: Peer, config: DetectorConfig) -> list[ScoredImage]:
    """Images with the scores of a peer, and its own score of the whole image where it has one."""
    scores = {"": peer.fitted.score_patches}
    images = [one[""] for one in score_images(patches, scores, config)]
    if peer.image_score is None:
        return images
    return [
        image._replace(score=peer.image_score(one.features, image.patch_scores))
        for image, one in zip(images, patches, strict=True)
    ]


def _backbone_ms(records: Any, config: DetectorConfig, backbone: Any) -> float:
    """Median time of the backbone an image, without the first."""
    images = list(stream_patches([records[0], *records], config, backbone, batch_size=1))
    return 1e3 * statistics.median(image.seconds for image in images[1:])


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "data", "backbone", "seeds", "cache", several=True)
    parser.add_argument("--method", action="append", choices=sorted(VARIANTS), help="repeatable")
    parser.add_argument("--layer", type=int, action="append")
    parser.add_argument("--short-side", type=int, default=448)
    parser.add_argument("--shape", default="crop", help="crop, bucket or square")
    parser.add_argument("--num-components", type=int, default=200)
    parser.add_argument("--num-epochs", type=int, default=30, help="sweeps of a mixture, at most")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        help="nats per patch; detection is the same with less",
    )
    options = parser.parse_args()
    options.method = options.method or list(DEFAULT)
    return options


if __name__ == "__main__":
    main()
