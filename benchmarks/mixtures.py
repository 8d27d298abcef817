"""A fitted mixture in the form of `peers.py`: with one of its scores, or as the index of its training patches.

Says as well what a shortlist neglects: nats of the density, and the share of patches whose nearest component it misses.
"""

import atexit
import dataclasses
import functools
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
from peers import Peer

from jaxdpmm.detection import DetectorConfig
from jaxdpmm.detection.banks import cascade_bank, write_cascade
from jaxdpmm.detection.methods import Fitted, of_state
from jaxdpmm.detection.scored import num_bytes
from jaxdpmm.detection.state import DetectorState
from jaxdpmm.scoring import component_means, cosine, predictive, score, shortlist_recall
from jaxdpmm.scoring.distance import NUM_MEANS, unit_vectors
from jaxdpmm.scoring.nearest import NUM_CANDIDATES
from jaxdpmm.scoring.shortlist import is_screened

OVER_ALL = {
    "nearest_predictive": predictive,
    "cosine": functools.partial(cosine, screened=False),
}  # what each is a shortlist of


def of_mixture(
    state: DetectorState,
    name: str | tuple[str, ...],
    config: DetectorConfig,
    queries: np.ndarray,
) -> Peer:
    """A score of a mixture, or several fused, and what one neglects that looks at few components of some patches."""
    extras = neglected(state, name, queries) if name in OVER_ALL else {}
    fitted = of_state(state, dataclasses.replace(config, score=name))
    more = num_bytes((state.fusion, state.context))
    return Peer(fitted._replace(num_bytes=fitted.num_bytes + more), extras=extras)


def neglected(state: DetectorState, name: str, queries: np.ndarray) -> dict[str, float]:
    """How much larger a score is than the one over all components, and the recall of its screen if it has one."""
    is_cosine = name == "cosine"
    num_found = NUM_MEANS if is_cosine else NUM_CANDIDATES
    has_screen = is_screened(state.mixture.num_components, num_found)
    if is_cosine and not has_screen:
        return {}
    over_few = score(*state.scorer(name), queries)
    over_all = score(*state.scorer(name, OVER_ALL), queries)
    more = np.maximum(over_few - over_all, 0)
    found = {"neglected_mean": float(more.mean()), "neglected_max": float(more.max())}
    for share in (0.5, 0.9, 0.99):
        found[f"neglected_quantile_{share}"] = float(np.quantile(more, share))
    if has_screen:
        vectors = component_means(state.mixture, state.posterior), jnp.asarray(queries)
        means, points = (unit_vectors(one) for one in vectors) if is_cosine else vectors
        found["recall"] = shortlist_recall(means, points, num_found)
    return found


def cascade(features: np.ndarray, state: DetectorState) -> Peer:
    """A mixture as the index of its training patches, which lie on disk in 16 bits until the process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    write_cascade(folder.name, features, state.mixture, state.posterior)
    bank = cascade_bank(folder.name, state.mixture, state.posterior)
    on_disk = sum(file.stat().st_size for file in pathlib.Path(folder.name).iterdir())
    fitted = Fitted(bank.score_patches, bank.num_bytes, bank.num_rows)
    return Peer(fitted, extras={"disk_bytes": on_disk, "scale": bank.scale})
