"""Which components grow and which empty between images that were learned from and new ones.

What is compared, and how, stands in `../detection/line/drift.py`. Next file to read: `scores.py`.
"""

from typing import TYPE_CHECKING

import numpy as np

from jaxdpmm.detection.line.drift import Drift

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUM_NAMED = 12
_GROWS, _EMPTIES = "C3", "C0"


def draw_drift(axes: "Axes", found: Drift) -> "Axes":
    """Axes with the share of each component in new images over that in reference images, in logarithms.

    Components on the diagonal are as large as they were. Those that stand out are coloured, growing ones red and
    emptying ones blue, and the largest of these are named by their numbers; a share of 0 is drawn at half the smallest.

    Args:
        axes: to draw into.
        found: of the test.
    """
    shares = np.array([(one.reference, one.new) for one in found.shifts])
    least = shares[shares > 0].min(initial=1.0) / 2
    shares = np.maximum(shares, least)
    colours = [
        "0.7" if not one.stands_out else _GROWS if one.deviations > 0 else _EMPTIES
        for one in found.shifts
    ]
    axes.plot([least, 1], [least, 1], color="0.5", linewidth=1)
    axes.scatter(shares[:, 0], shares[:, 1], c=colours, s=12)
    named = [number for number, one in enumerate(found.shifts) if one.stands_out][:_NUM_NAMED]
    for number in named:
        label = str(found.shifts[number].component)
        axes.annotate(label, shares[number], xytext=(3, 3), textcoords="offset points")
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="share in reference images", ylabel="share in new images")
    axes.set_title(f"p-value {found.p_value:.3g}, {found.num_new} new images")
    return axes
