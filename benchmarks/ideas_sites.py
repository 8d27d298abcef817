"""Sites that share no images, for `ideas.py`: tiles by exposure, cells by type, merged in three ways."""

import pathlib
import re

import jax
import numpy as np
from ideas_data import Grids, Setting, features_of, figures, timed
from ideas_more import Outcome

from jaxdpmm import trees
from jaxdpmm.detection import compile_scorer
from jaxdpmm.inference import from_stats, initialize, merge, partial_fit
from jaxdpmm.model import Posterior, Stats
from jaxdpmm.scoring import SCORERS
from jaxdpmm.sites import merge_for

EXPOSURE = re.compile(r"exp\d")  # in names of tiles
FEWEST = 3000  # patches of the smallest site
EVERY = 10  # patches that the common start is drawn from


def sites(setting: Setting) -> Outcome:
    """The exact merge of sites against weights by how much of each image a site explains.

    Beside it: each site alone (mean over the sites) and the mean, in which every site counts as much as the others.
    """
    rows = _rows_by_site(setting)
    mixture, prior = setting.state.mixture, setting.state.prior
    key = jax.random.key(setting.config.seed)
    some = np.concatenate([one[::EVERY] for one in rows.values()])
    start = initialize(mixture, prior, some, key=key)
    stats = [partial_fit(mixture, prior, start, one)[1] for one in rows.values()]
    parts = [from_stats(mixture, prior, one) for one in stats]
    scorer = SCORERS[setting.config.score](mixture)

    def by(posterior: Posterior) -> Grids:
        score = compile_scorer(scorer, posterior)
        return [np.asarray(score(one)) for one in features_of(setting.test)]

    def weighed(features: np.ndarray) -> np.ndarray:
        flat = features.reshape(-1, features.shape[-1])
        return compile_scorer(scorer, merge_for(mixture, prior, parts, flat))(features)

    grids, seconds = timed(weighed, features_of(setting.test))
    alone = {site: figures(setting, by(one)) for site, one in zip(rows, parts, strict=True)}
    means = {
        name: float(np.mean([one[name] for one in alone.values()]))
        for name, value in next(iter(alone.values())).items()
        if value is not None
    }
    even = by(from_stats(mixture, prior, _even(stats)))
    more = {"alone": means, "sites": alone, "even": figures(setting, even)}
    return Outcome(grids, seconds, more=more, base=by(merge(mixture, prior, parts)))


def _even(stats: list[Stats]) -> Stats:
    """The sum of statistics in which all sites count as much."""
    counts = [float(one.counts.sum()) for one in stats]
    total = trees.scale(stats[0], np.float32(np.mean(counts) / counts[0]))
    for one, count in zip(stats[1:], counts[1:], strict=True):
        total = trees.add(total, trees.scale(one, np.float32(np.mean(counts) / count)))
    return total


def _rows_by_site(setting: Setting) -> dict[str, np.ndarray]:
    """Training patches of each site.

    Raises:
        ValueError: names of images tell of no sites.
    """
    types = _cell_types(setting.test[0].record.path)
    found: dict[str, list[np.ndarray]] = {}
    for grid, name in zip(setting.train, setting.names, strict=True):
        exposure = EXPOSURE.search(name)
        site = types.get(name) or (exposure and exposure.group())
        if site:
            found.setdefault(site, []).append(grid.reshape(-1, grid.shape[-1]))
    rows = {site: np.concatenate(found[site]) for site in sorted(found)}
    rows = {site: one for site, one in rows.items() if len(one) >= FEWEST}
    if len(rows) < 2:
        raise ValueError("names tell no sites")
    return rows


def _cell_types(path: pathlib.Path) -> dict[str, str]:
    """Whether cells are mono- or polycrystalline, by the name of the image; nothing of other data sets."""
    table = path.parents[1] / "labels.csv"
    if not table.is_file():
        return {}
    lines = [line.split() for line in table.read_text().splitlines()]
    return {pathlib.Path(line[0]).name: line[-1] for line in lines}
