"""Several products in one model: a detector for each, and a router that says which product an image shows.

All share one backbone, which each image goes through once, and the settings of their features. Scores of different
products have different units; here all are in that of their product's colours: 0 is the median of the patches of its
training images, and 0.5 what one in a thousand exceeds. Next file to read: `figures.py`.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from jaxdpmm.detection.backbones import backbone_for, backbone_named, check_backbone
from jaxdpmm.detection.calibration import p_value_of_most
from jaxdpmm.detection.config import DetectorConfig
from jaxdpmm.detection.detector import Detector
from jaxdpmm.detection.parts import check_parts
from jaxdpmm.detection.patches import BATCH_SIZE, ImagePatches, stream_batches
from jaxdpmm.detection.products.file import read_products, write_products
from jaxdpmm.detection.products.routing import (
    Route,
    check_enough,
    fit_router,
    from_nearest,
    mean_of_image,
    means_of_images,
)
from jaxdpmm.detection.scored import ScoredImage, score_images
from jaxdpmm.detection.training import chosen_records, training_patches
from jaxdpmm.features import Backbone
from jaxdpmm.images.depth import value_range_of
from jaxdpmm.images.records import DataSet, ImageRecord

RATE = 0.05


class Product(NamedTuple):
    """One product: what its patches look like, and what its images look like as a whole."""

    detector: Detector
    router: Detector


class ProductImage(NamedTuple):
    """An image that was scored without being told what it shows.

    Attributes:
        route: which product.
        scored: by the detector of the product, or of the nearest one, in the unit of all products.
        p_value: of its score among normal images of that product; None where there were none for that.
    """

    route: Route
    scored: ScoredImage
    p_value: float | None

    def is_anomalous(self, rate: float) -> bool | None:
        """Whether it is of no product, or its score is rare for one; None where nobody knows the latter.

        A new normal image is called so at most twice as often as the rate says: once for each reason.
        """
        if self.route.product is None:
            return True
        return None if self.p_value is None else self.p_value <= rate


class ProductDetector:
    """Fitted detectors of several products.

    Attributes:
        products: by name.
        config: settings of the first of them; those of features are shared by all.
        backbone: shared by all.
    """

    colour_limits = (0.0, 1.0)
    calibration = None

    def __init__(self, products: Mapping[str, Product]):
        self.products = dict(products)
        first = next(iter(self.products.values())).detector
        self.config, self.backbone = first.config, first.backbone
        self._routers = {name: product.router for name, product in self.products.items()}

    @classmethod
    def fit(
        cls,
        data: Mapping[str, DataSet],
        config: DetectorConfig | None = None,
        *,
        backbone: Backbone | None = None,
        strict: bool = False,
        progress: bool = False,
        cache: str | os.PathLike | None = None,
    ) -> "ProductDetector":
        """Learn what is normal of each product, and how to tell them apart.

        Args:
            data: of each product, for example `jaxdpmm.images.layouts.open_products(folder)`.
            config: settings; None for the defaults.
            backbone: as of `Detector.fit`.
            strict: an image that cannot be read is an error, instead of a warning and a gap.
            progress: show bars on standard error.
            cache: as of `Detector.fit`.

        Raises:
            FileNotFoundError, ValueError, TypeError: as of `Detector.fit`; no product, or one of a single image.
        """
        config = config or DetectorConfig()
        if not data:
            raise ValueError(
                "data must hold at least one product, got none; see images.layouts.open_products."
            )
        if config.image_score != DetectorConfig.image_score:
            raise ValueError(
                f'image_score must be "top" for several products, got {config.image_score!r}; their scores would not '
                "be in one unit."
            )
        for part in data.values():
            check_enough(len(part.train))
        records = [record for part in data.values() for record in part.train]
        backbone = backbone or backbone_for(records, config)
        config = config.resolved(backbone)
        check_parts(config, config.num_features(backbone))
        if config.value_range is None:
            config = dataclasses.replace(config, value_range=value_range_of(records))
        options: dict[str, Any] = {"strict": strict, "progress": progress, "cache": cache}
        return cls(
            {name: _fit_one(name, part, config, backbone, **options) for name, part in data.items()}
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write all of it to one file, without the backbone.

        Raises:
            FileNotFoundError: the folder does not exist.
            FileExistsError: what lies there is no model file.
        """
        write_products(
            path,
            {name: [one.model for one in product] for name, product in self.products.items()},
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike, *, backbone: Backbone | None = None
    ) -> "ProductDetector":
        """Read what `save` wrote, and load the backbone, once.

        Args:
            path: the file.
            backbone: loaded already; by default from the source that the file names.

        Raises:
            FileNotFoundError: no such file or backbone.
            ValueError: a damaged file, one of a single product, or other weights than it was fitted with.
        """
        products = {}
        for name, parts in read_products(path).items():
            (config, state), (router_config, router_state) = parts
            backbone = backbone or backbone_named(config, state.num_inputs)
            check_backbone(backbone, config, state, path)
            means = backbone_named(router_config, router_state.num_inputs)
            check_backbone(means, router_config, router_state, path)
            detector = Detector(config, state, backbone)
            products[name] = Product(detector, Detector(router_config, router_state, means))
        return cls(products)

    def score(
        self,
        records: Sequence[ImageRecord],
        *,
        rate: float = RATE,
        strict: bool = False,
        batch_size: int = BATCH_SIZE,
        progress: str | None = None,
    ) -> Iterator[ProductImage]:
        """Products and scores of images, one after the other; those that cannot be read are left out with a warning.

        Args:
            records: the images.
            rate: how often an image of a product may be said to be of none.
            strict: an image that cannot be read is an error.
            batch_size: images through the backbone at once.
            progress: what to write before a progress bar; None for no bar.
        """
        options: dict[str, Any] = {"strict": strict, "batch_size": batch_size, "progress": progress}
        for batch in stream_batches(records, self.config, self.backbone, **options):
            for record, frame, features in zip(
                batch.records, batch.frames, batch.features, strict=True
            ):
                yield self._scored(ImagePatches(record, frame, features, batch.seconds), rate)

    def _scored(self, image: ImagePatches, rate: float) -> ProductImage:
        """Scored by the nearest product that it may be of; by the nearest where it is none of them."""
        tried: dict[str, ProductImage] = {}
        for name in from_nearest(self._routers, mean_of_image(image.features)):
            detector = self.products[name].detector
            scores = {"": detector.score_patches}
            ((one,),) = (found.values() for found in score_images([image], scores, detector.config))
            of_product = p_value_of_most(detector.calibration, one)
            route = Route(name, name, of_product)
            tried[name] = ProductImage(route, _in_unit(one, detector), detector.p_value(one))
            if of_product is None or of_product > rate:
                return tried[name]
        nearest = next(iter(tried.values()))
        largest = max(one.route.p_value or 0.0 for one in tried.values())
        return nearest._replace(route=Route(None, nearest.route.likeliest, largest))


def _in_unit(scored: ScoredImage, detector: Detector) -> ScoredImage:
    """The same with scores in the unit of all products."""
    low, high = detector.colour_limits
    grid = ((scored.patch_scores - low) / (high - low)).astype(scored.patch_scores.dtype)
    return scored._replace(patch_scores=grid, score=(scored.score - low) / (high - low))


def _fit_one(
    name: str,
    data: DataSet,
    config: DetectorConfig,
    backbone: Backbone,
    strict: bool,
    progress: bool,
    cache: Any,
) -> Product:
    if progress:
        tqdm.write(f"{name}:")
    learned, held_out = chosen_records(data.train, data.validation, config)
    patches = training_patches(learned, config, backbone, strict, progress, cache)
    options: dict[str, Any] = {"held_out": held_out, "strict": strict, "progress": progress}
    detector = Detector.fit_patches(patches, config, backbone, **options)
    names = [source for source, _ in patches.sources]
    step = config.rotations  # of which the first is the image as it is
    router = fit_router(means_of_images(patches)[::step], names[::step], config.seed)
    return Product(detector, router)
