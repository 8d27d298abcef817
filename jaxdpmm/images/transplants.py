"""Synthetic anomalies: parts of other images, turned, moved and recoloured, laid over a normal image, with their masks.

They stand for the anomalies that nobody has, where a choice between settings needs some
(`../detection/choosing/choose.py`). What is drawn depends on a seed alone, and an image is made when its pixels are
asked for, so that a record costs nothing. Read `../detection/choosing/synthetic.py` next, which makes anomalies of
features.

References:
    Li, Sohn, Yoon and Pfister (2021), CutPaste: Self-Supervised Learning for Anomaly Detection and Localization.
    Zavrtanik, Kristan and Skocaj (2021), DRAEM: regions of Perlin noise that are blended in.
    Perlin (1985), An image synthesizer.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from jaxdpmm.checks import check_at_least_one, check_choice
from jaxdpmm.images.depth import see
from jaxdpmm.images.records import ANOMALOUS, ImageRecord

VISIBLE = (
    0.02  # change of a pixel, of 1, from which on it counts as anomalous: five grey levels of 256
)
LEAST_VISIBLE = 0.3  # share of a region that must have changed; else another one is drawn
AROUND = 0.008  # of the longer side: how far about a pixel it is seen whether it has changed
NUM_TRIES = 10
OCTAVES = (4, 8, 16)  # cells of noise along a side


class Marked(NamedTuple):
    """An image with a synthetic anomaly.

    Attributes:
        pixels: RGB in [0, 1].
        mask: which pixels differ visibly from those of the normal image.
    """

    pixels: Float[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"]


@dataclass(frozen=True, eq=False)
class Transplant:
    """A `Source`: a normal image over which a part of another lies.

    Attributes:
        base: the normal image.
        donor: the image that the part is of.
        recipe: one of `RECIPES`.
        seed: of all that is drawn.
        value_range: of images of 16 bits, see `depth.see`.
    """

    base: ImageRecord
    donor: ImageRecord
    recipe: str
    seed: int
    value_range: tuple[float, float] | None = None

    def pixels(self) -> np.ndarray:
        """Float32 RGB in [0, 1]."""
        return self._made().pixels

    def mask(self) -> np.ndarray:
        """Pixels that differ visibly from the normal image."""
        return self._mask

    @functools.cached_property
    def _mask(self) -> np.ndarray:
        return self._made().mask

    def _made(self) -> Marked:
        base, donor = (see(one, self.value_range).pixels for one in (self.base, self.donor))
        return transplanted(base, donor, self.recipe, np.random.default_rng(self.seed))


def transplants(
    records: Sequence[ImageRecord],
    number: int,
    *,
    seed: int = 0,
    recipes: Sequence[str] = (),
    value_range: tuple[float, float] | None = None,
) -> tuple[ImageRecord, ...]:
    """Records of anomalous images: each of the normal ones in turn, with a part of another, by each recipe in turn.

    Args:
        records: normal images.
        number: how many to make.
        seed: of all that is drawn.
        recipes: names in `RECIPES`; none for all.
        value_range: of images of 16 bits, see `depth.see`.

    Raises:
        ValueError: no images, or a recipe that there is not.
    """
    check_at_least_one("the number of normal images", len(records), "give some to change")
    recipes = recipes or tuple(RECIPES)
    for recipe in recipes:
        check_choice("recipe", recipe, RECIPES)
    random = np.random.default_rng(seed)
    order = random.permutation(len(records))
    made = []
    for place in range(number):
        base = order[place % len(order)]
        donor = (base + random.integers(1, max(2, len(records)))) % len(records)
        recipe = recipes[place % len(recipes)]
        own_seed = int(random.integers(2**31))
        source = Transplant(records[base], records[donor], recipe, own_seed, value_range)
        path = records[base].path
        name = path.with_name(f"{path.stem} with {recipe} {place}{path.suffix}")
        made.append(ImageRecord(name, ANOMALOUS, recipe, None, source))
    return tuple(made)


def transplanted(
    base: Float[np.ndarray, "H W 3"],
    donor: Float[np.ndarray, "h w 3"],
    recipe: str,
    random: np.random.Generator,
) -> Marked:
    """A normal image with a part of another.

    Regions are drawn anew, ten times at most, until enough of one differs from what it covers: background that is laid
    over background is no anomaly.

    Args:
        base: the normal image.
        donor: the other image, of any size.
        recipe: "paste", a rectangle or an ellipse; "scar", a thin strip; "blend", a patch of smooth noise that shines
            through.
        random: where numbers come from.
    """
    best = Marked(base, np.zeros(base.shape[:2], bool))
    for _ in range(NUM_TRIES):
        opacity = RECIPES[recipe](base.shape[:2], random).astype(np.float32)
        places = np.nonzero(opacity)
        content = _recoloured(_moved(donor, places, base.shape[:2], random), donor, random)
        found = Marked(base.copy(), np.zeros(base.shape[:2], bool))
        change = opacity[places][:, None] * (content - base[places])
        found.pixels[places] += change
        found.mask[places] = _visible(np.abs(change).max(axis=1, initial=0), places, opacity.shape)
        if found.mask.sum() >= best.mask.sum():
            best = found
        if found.mask.sum() >= max(1, LEAST_VISIBLE * len(places[0])):
            break
    return best


def pasted(shape: tuple[int, int], random: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Opacity of a rectangle or an ellipse at any angle, of 0.3 to 5 % of an image."""
    area = np.exp(random.uniform(np.log(0.003), np.log(0.05)))
    aspect = np.exp(random.uniform(-1, 1))
    along, across = _axes(shape, random)
    length, width = np.sqrt(area * aspect), np.sqrt(area / aspect)
    if random.random() < 0.5:
        return ((np.abs(along) < length / 2) & (np.abs(across) < width / 2)).astype(float)
    return ((along / length) ** 2 + (across / width) ** 2 < 1 / np.pi).astype(float)


def scarred(shape: tuple[int, int], random: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Opacity of a thin, slightly bent strip, 8 to 40 % of an image long."""
    length, width = random.uniform(0.08, 0.4), random.uniform(0.008, 0.03)
    along, across = _axes(shape, random)
    bent = across + random.uniform(-1, 1) * along**2
    return ((np.abs(along) < length / 2) & (np.abs(bent) < width / 2)).astype(float)


def blended(shape: tuple[int, int], random: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Opacity of a patch of smooth noise, of about 0.5 to 10 % of an image, 30 to 80 % where it is."""
    size = np.exp(random.uniform(np.log(0.04), np.log(0.2)))
    along, across = _axes(shape, random)
    window = np.exp(-(along**2 + across**2) / (2 * size**2))
    height = window * (1 + 0.7 * smooth_noise(shape, random))
    inside = np.clip((height - 0.6) / 0.1, 0, 1)
    return inside * random.uniform(0.3, 0.8)


def faint(shape: tuple[int, int], random: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """As `blended`, 10 to 30 % where it is."""
    opacity = blended(shape, random)
    return opacity / max(opacity.max(), np.finfo(float).tiny) * random.uniform(0.1, 0.3)


RECIPES: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    "paste": pasted,
    "scar": scarred,
    "blend": blended,
    "faint": faint,
}
"""Opacity of a region, (H, W) from 0 to 1, of the size of an image and a generator, by name."""


def smooth_noise(shape: tuple[int, int], random: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """Noise of unit variance at several scales, random values between which a cubic spline runs."""
    total = np.zeros(shape)
    for cells in OCTAVES:
        grid = random.normal(size=(cells, cells))
        factors = [side / cells for side in shape]
        total += scipy.ndimage.zoom(grid, factors, order=3, mode="nearest", grid_mode=True) / cells
    return (total - total.mean()) / max(total.std(), np.finfo(float).tiny)


def _visible(
    change: Float[np.ndarray, " N"], places: tuple[np.ndarray, ...], shape: tuple[int, int]
) -> Bool[np.ndarray, " N"]:
    """Whether pixels have changed, with those about them."""
    size = 2 * round(max(shape) * AROUND) + 1
    both = []
    for values in (change, 1.0):
        grid = np.zeros(shape, np.float32)
        grid[places] = values
        both.append(scipy.ndimage.uniform_filter(grid, size, mode="constant")[places])
    return both[0] >= VISIBLE * both[1]


def _axes(
    shape: tuple[int, int], random: np.random.Generator
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Coordinates of pixels about a random place along a random direction, in geometric means of the sides."""
    side = np.sqrt(shape[0] * shape[1])
    place = random.uniform(0.1, 0.9, size=2) * shape
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    down, right = (rows + 0.5 - place[0]) / side, (columns + 0.5 - place[1]) / side
    angle = random.uniform(0, np.pi)
    return (
        down * np.sin(angle) + right * np.cos(angle),
        down * np.cos(angle) - right * np.sin(angle),
    )


def _moved(
    donor: Float[np.ndarray, "h w 3"],
    places: tuple[np.ndarray, ...],
    shape: tuple[int, int],
    random: np.random.Generator,
) -> Float[np.ndarray, "N 3"]:
    """Another image turned by up to 45 degrees and shifted, at some pixels; bilinear, mirrored where it ends."""
    angle = random.uniform(-np.pi / 4, np.pi / 4)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(shape) - 1) / 2
    target = (np.array(donor.shape[:2]) - 1) / 2 + random.uniform(-0.5, 0.5, size=2) * shape
    points = turn @ (np.stack(places) - centre[:, None]) + target[:, None]
    channels = [
        scipy.ndimage.map_coordinates(donor[..., channel], points, order=1, mode="mirror")
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


def _recoloured(
    colours: Float[np.ndarray, "N 3"],
    donor: Float[np.ndarray, "h w 3"],
    random: np.random.Generator,
) -> Float[np.ndarray, "N 3"]:
    """Other contrast and brightness, the same for all colours; of colour images a little of each colour's own too."""
    contrast, brightness = random.uniform(0.7, 1.3), random.uniform(-0.15, 0.15)
    is_grey = np.ptp(donor[::8, ::8], axis=-1).max() < VISIBLE
    tint = random.uniform(-0.05, 0.05, size=(1, 3)) * (not is_grey)
    middle = donor[::8, ::8].mean()
    return np.clip(middle + contrast * (colours - middle) + brightness + tint, 0, 1)
