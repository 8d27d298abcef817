"""Features that were made elsewhere, in the place of a backbone: what they are called and how many, and no network.

A model of such features says so where other models name their backbone. Not here: the files that hold them
(`../images/feature_files.py`). Read `weights.py` next.
"""

from jaxdpmm.features.config import GivenFeatures
from jaxdpmm.features.weights import Backbone

PREFIX = "features: "  # of a backbone's name; no hub id and hardly a folder begins so


def given_features(name: str, num_features: int) -> Backbone:
    """What takes the place of a backbone for features that exist already.

    Args:
        name: of the features, with or without the prefix that backbones' names have.
        num_features: numbers per patch.
    """
    name = name.removeprefix(PREFIX)
    return Backbone(PREFIX + name, GivenFeatures(name, num_features), {})


def is_given(backbone: Backbone) -> bool:
    """Whether features exist already, so that there is no network."""
    return isinstance(backbone.config, GivenFeatures)
