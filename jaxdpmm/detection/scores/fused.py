"""Images that were scored in several ways, by scores of one detector, several detectors or `context.py`, as one.

The scores of each patch are fused as `../../scoring/fusion.py` says: p-values among the patches of normal images, their
sum or the largest. What comes out is a scored image like others, so that maps, thresholds and figures serve. Next file
to read: `context.py`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from jaxdpmm.detection.maps import image_scores
from jaxdpmm.detection.scored import ScoredImage
from jaxdpmm.scoring import Fusion, fused_scores, learn_fusion
from jaxdpmm.scoring.fusion import OF_EACH


def learn_fused(normal: Iterable[Sequence[ScoredImage]], combine: str = "sum") -> Fusion:
    """Learn how patches of normal images score.

    Args:
        normal: normal images that nothing was learned from, each scored in several ways, in the same order.
        combine: "sum" or "largest", as `fused_image` will be told.

    Raises:
        ValueError: fewer than 100 patches, grids of several sizes for one image, or an unknown `combine`.
    """
    columns = [_columns(one) for one in normal]
    return learn_fusion(np.concatenate(columns) if columns else np.zeros((0, 1)), combine)


def fused_image(
    fusion: Fusion,
    image: Sequence[ScoredImage],
    top_fraction: float = 0.01,
    combine: str = "sum",
) -> ScoredImage:
    """One image with the fused scores of its patches, in nats, and `image_score` of them as its own.

    Args:
        fusion: from `learn_fused` with the same `combine`.
        image: one image, scored in the same ways in the same order.
        top_fraction: share of the patches that makes the image's score.
        combine: "sum" or "largest".

    Raises:
        ValueError: grids of several sizes, or another number of scores than the fusion has.
    """
    columns, number = _columns(image), len(fusion.each.scale)
    if columns.shape[1] != number:
        raise ValueError(
            f"image must be scored in {number} ways, as the normal images were, got {columns.shape[1]}; give the same "
            "scores in the same order."
        )
    grid = np.asarray(fused_scores(fusion, columns, combine)).reshape(image[0].patch_scores.shape)
    whole = float(image_scores(grid[None], top_fraction, OF_EACH)[0])
    seconds = sum(one.scoring_seconds for one in image)
    return image[0]._replace(patch_scores=grid, score=whole, scoring_seconds=seconds)


def _columns(image: Sequence[ScoredImage]) -> Float[np.ndarray, "N J"]:
    grids = [np.asarray(one.patch_scores) for one in image]
    if len({grid.shape for grid in grids}) > 1:
        raise ValueError(
            f"grids of one image must be of one size, got {' and '.join(str(grid.shape) for grid in grids)}; score it "
            "at the same short side and with backbones of the same patch size."
        )
    return np.stack([grid.ravel() for grid in grids], axis=1)
