"""How many seeds for coverage a mixture needs: as many as raise the exact bound of all data.

Farthest-first seeds are nested: the first K of them are those of size K, so that one sequence holds a mixture of every
size. The bound rises as long as a seed stands for a kind of points that had none, and falls when it only divides one
that had: what another component gains its points is then less than what its parameters cost. Rare kinds of points lie
far from the others and have seeds early, so that they keep theirs whatever size is best.

Sizes double until the bound has fallen, and the best one is then sought between the sizes around it. Each point's
nearest seed is known for the smaller size, and only further seeds are compared with it: all sizes together cost little
more than the largest. Next file to read: `joining.py`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from jaxdpmm.inference.coverage import Nearest, cover_batches, extend, flat, middle
from jaxdpmm.inference.data.arrays import DataSource
from jaxdpmm.inference.labelled import labelled_bound, labelled_statistics
from jaxdpmm.model import Mixture, Prior

ALWAYS_TRIED = 64  # seeds; the bound of fewer can fall and rise again, as modes of many kinds lie
AT_ONCE = 1024  # seeds of data in batches, of which all are looked for before the first is used
PRECISION = 64  # the best size is sought to one part in so many of it

States = tuple[Nearest, ...]
"""Nearest seeds of the points of each batch."""


class Cover(NamedTuple):
    """Some of the seeds, and how good the mixture of them is.

    Attributes:
        states: the seeds, and the nearest of them to each point.
        bound: of the posterior in which each point belongs to its nearest seed, in nats.
    """

    states: States
    bound: float

    @property
    def seeds(self) -> Float[np.ndarray, "S D"]:
        """In the order in which they were chosen."""
        return self.states[0].seeds


def needed_seeds(
    mixture: Mixture, prior: Prior, source: DataSource, units: Float[Array, " D"] | None
) -> Cover:
    """The farthest-first seeds of highest bound, at most as many as the mixture has components.

    Args:
        mixture: static description.
        prior: hyper-parameters.
        source: all points.
        units: what features are divided by first, in the seeds too; None for nothing.
    """
    sequence = _Sequence(mixture, prior, source, units)
    covers = map(sequence.cover, sequence.doubled())
    low = best = high = last = next(covers)
    for now in covers:
        if now.bound > best.bound:
            low, best, high = last, now, now
        elif high is best:
            high = now
        last = now
        if now.bound < best.bound and len(now.seeds) >= ALWAYS_TRIED:
            break
    return _refined(sequence, low, best, high)


class _Sequence:
    """Farthest-first seeds of some data, as far as they are asked for."""

    def __init__(
        self, mixture: Mixture, prior: Prior, source: DataSource, units: Float[Array, " D"] | None
    ):
        self.mixture, self.prior, self.source, self.units = mixture, prior, source, units

    def cover(self, states: States) -> Cover:
        labels = [state.labels for state in states]
        stats = labelled_statistics(self.mixture, self.prior, self.source, labels)
        return Cover(states, float(labelled_bound(self.mixture, self.prior, stats)))

    def doubled(self) -> Iterator[States]:
        """One seed, two, four and so on, until there are as many as components or as different points."""
        limit = self.mixture.num_components
        if self.source.num_batches > 1:
            yield from self._doubled_of_batches(limit)
            return
        (batch,) = self.source.sweep()
        x = flat(batch.x, self.units)
        offset, farthest = middle(x, batch.weight)
        state = Nearest.without_seeds(x, batch.weight)
        state = state.with_seeds(x, offset, np.asarray(x[int(farthest)])[None])
        is_more = True
        while is_more:
            yield (state,)
            number = len(state.seeds)
            rows, state = extend(x, offset, state, min(number, limit - number), 0.0)
            is_more = len(rows) > 0

    def _doubled_of_batches(self, limit: int) -> Iterator[States]:
        """The same of many batches; some thousand seeds are looked for at once, and others anew where those are few."""
        number = most = 0
        while most < limit:
            most = min(max(AT_ONCE, 4 * most), limit)
            seeds = cover_batches(self.source, most, self.units)
            states = tuple(
                Nearest.without_seeds(flat(batch.x, self.units), batch.weight)
                for batch in self.source.sweep()
            )
            while number < len(seeds):
                wanted = min(max(1, 2 * number), len(seeds))
                states = self.with_seeds(states, seeds[len(states[0].seeds) : wanted])
                yield states
                number = wanted
            if len(seeds) < most:  # there are no more different points
                return

    def with_seeds(self, states: States, seeds: Float[np.ndarray, "S D"]) -> States:
        """The states after further seeds, which all of them share."""
        found: list[Nearest] = []
        for batch, state in zip(self.source.sweep(), states, strict=True):
            x = flat(batch.x, self.units)
            grown = state.with_seeds(x, middle(x, batch.weight)[0], seeds)
            found.append(grown._replace(seeds=found[0].seeds) if found else grown)
        return tuple(found)


def _refined(sequence: _Sequence, low: Cover, best: Cover, high: Cover) -> Cover:
    """The best size between two others: the wider of the two gaps beside the best one is halved each time."""
    while True:
        sizes = [len(cover.seeds) for cover in (low, best, high)]
        below, above = np.diff(sizes)
        if max(below, above) <= max(1, sizes[1] // PRECISION):
            return best
        start = best if above > below else low
        number = len(start.seeds)
        seeds = high.seeds[number : number + max(below, above) // 2]
        now = sequence.cover(sequence.with_seeds(start.states, seeds))
        is_better = now.bound > best.bound
        if start is best:
            low, best, high = (best, now, high) if is_better else (low, best, now)
        else:
            low, best, high = (low, now, best) if is_better else (now, best, high)
