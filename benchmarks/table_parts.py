"""What all tables are made of: records read and grouped, figures over seeds, Markdown.

Read `tables.py` next.
"""

import json
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

Records = Sequence[dict[str, Any]]


def read_records(paths: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """The records of all files, one after the other."""
    return [one for path in paths for one in json.loads(path.read_text())["records"]]


def grouped(records: Records, *names: str) -> list[list[dict[str, Any]]]:
    """Records that agree in some entries, in the order in which they first appear."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    return list(groups.values())


def spread(runs: Records, name: str, form: str, unit: str = "") -> str:
    """Mean, and the standard deviation where there are several; a dash where there is nothing."""
    values = [run[name] for run in runs if run.get(name) is not None]
    if not values:
        return "-"
    mean = form.format(statistics.mean(values))
    more = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return mean + more + unit


def called(score: str | Sequence[str]) -> str:
    """The name of a score, or of several that are fused."""
    return score if isinstance(score, str) else " + ".join(score)


def interval(runs: Records, name: str) -> str:
    """Bootstrap interval of a figure, its ends averaged over runs."""
    low, high = (statistics.mean(run["intervals"][name][end] for run in runs) for end in (0, 1))
    return f"[{low:.3f}, {high:.3f}]"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
