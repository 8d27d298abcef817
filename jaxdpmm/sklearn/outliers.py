"""`DirichletProcessOutlierDetector`: the mixture's density behind scikit-learn's outlier interface.

Not here: detection in images (`../detection/detector.py`), and thresholds with a guarantee on new normal points.
"""

from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin

from jaxdpmm.inference.data.arrays import check_weights
from jaxdpmm.sklearn.base import BaseDirichletProcess, with_parameters_of


class DirichletProcessOutlierDetector(OutlierMixin, BaseDirichletProcess):
    """Outliers are points where the mixture's predictive density is low.

    Fitted to normal points alone it is a novelty detector; fitted to a mix of both it flags the least probable ones.

    Parameters:
        n_components: and all that follow but the last, as in `DirichletProcessMixture`.
        contamination: share of the training points, by weight, to be called outliers; above 0, at most 0.5.

    Attributes:
        offset_: log density, in nats, below which a point is an outlier.
        mixture_: and all others, as in `DirichletProcessMixture`.
    """

    @with_parameters_of(BaseDirichletProcess)
    def __init__(
        self, n_components: Any = 20, *, contamination: Any = 0.1, **parameters: Any
    ) -> None:
        super().__init__(n_components, **parameters)
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Any:
        """Learn from points, then set `offset_` so that the share `contamination` of them lies below it.

        Args:
            X: points, (N, D).
            y: ignored.
            sample_weight: (N,), weight 2 is the point twice, 0 is no point.

        Returns:
            The estimator.

        Raises:
            ValueError: as `DirichletProcessMixture.fit`, or `contamination` not in (0, 0.5].
        """
        share = self.contamination
        if not isinstance(share, Real) or not 0 < float(share) <= 0.5:
            raise ValueError(
                f"contamination must be above 0 and at most 0.5, got {self.contamination!r}; the default is 0.1."
            )
        super().fit(X, y, sample_weight)
        densities = self.score_samples(X)
        weight = check_weights(sample_weight, len(densities), densities.dtype)
        self.offset_ = lower_end(densities, weight, self.contamination)
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, " N"]:
        """`score_samples(X) - offset_`: negative for outliers, (N,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int[np.ndarray, " N"]:
        """+1 for inliers, -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def lower_end(
    values: Float[np.ndarray, " N"], weight: Float[np.ndarray, " N"], share: float
) -> float:
    """A number below which at most the given share of the weight lies.

    It is the first value beyond that share, less a hair, so that rounding in another batch does not flip its point.
    """
    order = np.argsort(values)
    below = np.cumsum(weight[order], dtype=np.float64)
    value = float(values[order][np.argmax(below > share * below[-1] * (1 + 1e-9))])
    return value - float(np.finfo(values.dtype).eps) ** 0.5 * (1 + abs(value))
