"""What all commands share: options of the same meaning, tables, messages, and checks before long work.

Results go to standard output; messages, warnings and progress bars to standard error.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxdpmm import __version__
from jaxdpmm.cli.places import holds_products

if TYPE_CHECKING:  # loads JAX
    from jaxdpmm.detection import Detector

ModelArgument = Annotated[Path, typer.Argument(help="Model file that `jaxdpmm fit` wrote.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Where the backbone's weights are, if no longer where they were for the fit.",
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Stop at an image that cannot be read instead of skipping it."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder to keep features in, so that a killed or later run starts with them; runs may share it.",
    ),
]


def say(message: str) -> None:
    """One message on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())


def check_rate(rate: float) -> None:
    """Before long work: that a false positive rate is one.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate:g}; 0.05 is a usual choice.")


def write_json(file: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result where `--json` says, if it was given, with who wrote it as its first entry."""
    from jaxdpmm.persist import write_whole

    if file is not None:
        marked = {"written_by": f"jaxdpmm {__version__}", **result}
        write_whole(file, (json.dumps(marked, indent=2) + "\n").encode())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        first, *others = (
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def load_detector(model: Path, backbone: str | None) -> Any:
    """The detector of a model file, with its weights from where the file or the user says.

    Raises:
        FileNotFoundError: no such file or backbone.
        ValueError: no detector, or those of several products.
    """
    if holds_products(model):
        raise ValueError(
            f"MODEL must be of one product for this command, got {model} of several; use score or evaluate, or fit "
            "the product alone."
        )
    from jaxdpmm.detection import Detector
    from jaxdpmm.detection.stored.state import load_detector_model
    from jaxdpmm.features import load_backbone

    if backbone is None:
        return Detector.load(model)
    config, _ = load_detector_model(model)
    return Detector.load(model, backbone=load_backbone(backbone, dtype=config.dtype))


def calibration_text(detector: "Detector", rate: float = 0.05) -> str:
    """From which score on an image is called anomalous, or why that is not known."""
    found = detector.calibration
    if found is None:
        return "no threshold: no images to take it from; see `jaxdpmm calibrate`"
    number = found.image.num_images
    is_left_out = detector.state.facts.num_left_out > 0
    images = "training images, each left out in turn" if is_left_out else "held-out normal images"
    if rate * (number + 1) < 1:
        return f"no threshold at {rate:.0%} false positives: {number} {images} are too few"
    threshold = f"{detector.threshold(rate):.6g} for at most {rate:.0%} false positives"
    return f"image threshold {threshold}, from {number} {images}"


def size_text(num_bytes: float) -> str:
    """Bytes in a unit that is easy to read."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} kB"


def skipped_text(num_skipped: int) -> str:
    """How many images could not be read, as the end of a line; nothing for none."""
    return f" ({num_skipped} skipped that could not be read)" if num_skipped else ""
