"""What a detector may be told beside its mixture: foreground, rotations, fewer dimensions, shapes, tiles, a cache."""

import dataclasses
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from machine import needs_faiss
from PIL import Image
from sklearn.decomposition import PCA
from synthetic import SIDE

from jaxdpmm.detection import Detector, DetectorConfig, stream_patches
from jaxdpmm.detection import cache as caching
from jaxdpmm.detection.cache import cached_patches
from jaxdpmm.detection.foreground import foreground_mask, in_foreground
from jaxdpmm.detection.methods import METHODS, check_methods
from jaxdpmm.detection.reduction import principal_axes, reduce_features
from jaxdpmm.detection.training import training_patches
from jaxdpmm.features import PatchExtractor
from jaxdpmm.features.store import FeatureStore
from jaxdpmm.features.tiling import extract_in_tiles, tile_starts
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.rotation import rotate


@pytest.fixture(scope="module")
def config(backbone):
    return DetectorConfig(
        backbone=backbone.name, short_side=SIDE, num_components=3, num_epochs=3, tolerance=1.0
    )


@pytest.fixture(scope="module")
def features(data, config, backbone):
    return training_patches(data.train, config, backbone).features


def object_features(random, background=0.0):
    """A disc of one kind of patches on a background of another."""
    rows, columns = np.mgrid[:16, :20]
    disc = (rows - 8) ** 2 + (columns - 10) ** 2 < 30
    kinds = random.normal(size=(2, 24))
    noise = 0.3 * random.normal(size=(16, 20, 24))
    return disc, kinds[disc.astype(int)] * np.where(disc, 1, 1 - background)[..., None] + noise


@pytest.mark.parametrize("seed", range(4))
def test_foreground_is_the_object(seed):
    disc, grid = object_features(np.random.default_rng(seed))
    mask = foreground_mask(grid)
    assert mask[disc].all()
    assert mask.mean() < 0.5  # the disc, which is 0.29 of it, and a ring of one patch
    assert not mask[0].any()


def test_textures_have_no_background():
    random = np.random.default_rng(0)
    assert foreground_mask(random.normal(size=(10, 12, 24))).all()
    assert foreground_mask(np.ones((4, 4, 8))).all()
    slope = np.linspace(0, 1, 12)[None, :, None] * np.ones((10, 1, 24))
    assert foreground_mask(slope + 0.01 * random.normal(size=(10, 12, 24))).all()


def test_background_is_as_normal_as_the_most_normal_patch():
    scores, mask = np.array([[5.0, 1.0], [2.0, 9.0]]), np.array([[True, True], [True, False]])
    np.testing.assert_array_equal(in_foreground(scores, mask), [[5, 1], [2, 1]])


def test_quarter_turns_move_pixels_only():
    pixels = np.random.default_rng(0).random((6, 6, 3), np.float32)
    np.testing.assert_array_equal(rotate(pixels, 90), np.rot90(pixels))
    np.testing.assert_array_equal(rotate(pixels[:4], 180), pixels[:4][::-1, ::-1])
    turned = rotate(np.ones((5, 8, 3), np.float32), 45)
    np.testing.assert_allclose(turned, 1)
    assert rotate(pixels[:4], 90).shape == (4, 6, 3)
    np.testing.assert_allclose(rotate(pixels, 89.9999), np.rot90(pixels), atol=1e-3)


def test_rotations_are_learned_from_but_never_scored(data, config, backbone):
    turned = dataclasses.replace(config, rotations=2)
    patches = training_patches(data.train[:3], turned, backbone)
    plain = training_patches(data.train, config, backbone)
    assert len(patches.features) == len(plain.features)
    np.testing.assert_allclose(patches.features[:36], plain.features[:36], atol=1e-5)
    assert patches.sources[1][0].endswith("00.png at 180 degrees")
    detector = Detector.fit(data.train[:3], turned, backbone=backbone)
    assert detector.state.facts.num_images == 3
    assert len(list(detector.score(data.test))) == len(data.test)


def test_axes_are_those_of_scikit_learn(key):
    x = np.random.default_rng(0).normal(size=(500, 8)) * np.arange(1, 9)
    reduction = principal_axes(x, 3, key)
    theirs = PCA(3).fit(x)
    ours = reduce_features(reduction, x)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs.transform(x)), atol=1e-3)
    assert reduce_features(None, x) is x
    with pytest.raises(
        ValueError, match="num_principal must be between 1 and the number of features, 8"
    ):
        principal_axes(x, 9, key)


def test_fewer_dimensions_are_kept_with_the_model(tmp_path, data, config, backbone):
    detector = Detector.fit(
        data.train, dataclasses.replace(config, num_principal=5), backbone=backbone
    )
    assert detector.state.mixture.family.dim == 5
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", backbone=backbone)
    for ours, theirs in zip(detector.score(data.test), loaded.score(data.test), strict=True):
        np.testing.assert_array_equal(ours.patch_scores, theirs.patch_scores)
    assert loaded.explain(data.test[0], 1)[0].distance > 0


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_faiss if n == "faiss" else ()) for n in sorted(METHODS)]
)
def test_every_method_learns_and_scores(name, features, config):
    method = METHODS[name](np.asarray(features), config)
    grid = np.asarray(features[:36]).reshape(6, 6, -1)
    normal, strange = method.score_patches(grid), method.score_patches(-grid)
    assert normal.shape == (6, 6)
    assert normal.mean() < strange.mean()
    assert method.num_bytes > 0
    assert 1 <= method.num_rows <= len(features)


def test_unknown_method():
    with pytest.raises(ValueError, match=r"method must be one of mixture, finite, .* got 'svm'"):
        check_methods(["bank", "svm"])


def test_few_shots_are_the_run_of_the_seed(data, config, backbone, monkeypatch):
    seen = []
    monkeypatch.setattr(Detector, "fit_patches", lambda patches, *_, **__: seen.append(patches))
    Detector.fit(data.train, dataclasses.replace(config, num_shots=2, seed=1), backbone=backbone)
    assert [name for name, _ in seen[0].sources] == [str(r.path) for r in data.train[2:4]]


def test_few_shapes_for_images_of_many():
    sizes = [(100, 100 + 3 * step) for step in range(60)]
    grids = {}
    for shape in ("crop", "bucket", "square"):
        preprocessing = Preprocessing(448, 14, shape)
        grids[shape] = {frame_of(size, preprocessing).grid for size in sizes}
    assert (len(grids["crop"]), len(grids["bucket"]), len(grids["square"])) == (57, 15, 1)
    assert grids["square"] == {(32, 32)}
    frame = frame_of((300, 100), Preprocessing(450, 14, "bucket"))
    assert (frame.resized, frame.corner) == ((1344, 448), (0, 0))
    with pytest.raises(ValueError, match="shape must be one of crop, bucket, square, got 'round'"):
        Preprocessing(448, 14, "round")


def test_maps_of_stretched_images_lie_over_the_original(data, backbone, config, tmp_path):
    with Image.open(data.test[-1].path) as image:
        image.resize((2 * SIDE + 5, SIDE)).save(tmp_path / "wide.png")
    detector = Detector.fit(
        data.train, dataclasses.replace(config, shape="square"), backbone=backbone
    )
    (scored,) = detector.score([ImageRecord(tmp_path / "wide.png")])
    assert scored.patch_scores.shape == (6, 6)
    assert scored.pixel_scores(1.0).shape == (SIDE, 2 * SIDE + 5)


@pytest.mark.parametrize(
    ("num", "size"), [(32, 16), (33, 16), (17, 16), (16, 16), (5, 16), (100, 7)]
)
def test_tiles_cover_a_side_with_overlap(num, size):
    starts = tile_starts(num, size)
    covered = {start + place for start in starts for place in range(min(size, num))}
    assert covered == set(range(num))
    assert all(second - first <= 0.75 * size + 1 for first, second in itertools.pairwise(starts))


def test_tiles_take_each_patch_from_the_middle_of_a_tile(backbone):
    pixels = np.random.default_rng(0).random((2, 112, 70, 3), np.float32)
    extractor = PatchExtractor(2)
    found = extract_in_tiles(extractor, backbone, pixels, 70, batch_size=3)
    assert found.shape == (2, 8, 5, 32)
    top = np.asarray(extractor.extract(backbone, pixels[:, :70]))
    bottom = np.asarray(extractor.extract(backbone, pixels[:, 42:]))
    np.testing.assert_allclose(found[:, :4], top[:, :4], atol=1e-4)
    np.testing.assert_allclose(found[:, 4:], bottom[:, 1:], atol=1e-4)
    with pytest.raises(
        ValueError, match="tile_side must be a multiple of the patch size 14 and at"
    ):
        extract_in_tiles(extractor, backbone, pixels, 75)


def test_large_images_go_through_in_tiles(data, config, backbone):
    tiled = dataclasses.replace(config, tile_side=56)
    whole, parts = (
        next(iter(stream_patches(data.test, settings, backbone))) for settings in (config, tiled)
    )
    assert whole.features.shape == parts.features.shape
    assert not np.allclose(whole.features, parts.features)


@pytest.fixture
def counted(monkeypatch):
    """How many images have gone through the backbone."""
    seen = []
    stream = caching.stream_patches

    def counting(records, *args, **options):
        for image in stream(records, *args, **options):
            seen.append(image.record.path.name)
            yield image

    monkeypatch.setattr(caching, "stream_patches", counting)
    return seen


def test_cached_features_are_those_of_the_backbone(tmp_path, data, config, backbone, counted):
    fresh = list(stream_patches(data.test, config, backbone))
    for _ in range(2):
        kept = list(cached_patches(data.test, config, backbone, tmp_path))
        for ours, theirs in zip(fresh, kept, strict=True):
            assert (ours.record, ours.frame) == (theirs.record, theirs.frame)
            np.testing.assert_allclose(ours.features, theirs.features, atol=1e-5)
    assert len(counted) == len(data.test)
    other = dataclasses.replace(config, layers=(1,))
    list(cached_patches(data.test[:1], other, backbone, tmp_path))
    assert len(counted) == len(data.test) + 1


def test_content_is_what_counts(tmp_path, data, config, backbone, counted):
    list(cached_patches(data.train, config, backbone, tmp_path / "cache"))
    renamed = tmp_path / "renamed.png"
    renamed.write_bytes(data.train[0].path.read_bytes())
    list(cached_patches([ImageRecord(renamed)], config, backbone, tmp_path / "cache"))
    assert len(counted) == len(data.train)
    Image.new("L", (SIDE, SIDE), 7).save(renamed)
    twice = [ImageRecord(renamed)] * 2
    assert len(list(cached_patches(twice, config, backbone, tmp_path / "cache"))) == 2
    assert len(counted) == len(data.train) + 1


def test_a_killed_run_goes_on(tmp_path, data, config, backbone, counted, monkeypatch):
    small_shards = functools.partial(caching.FeatureWriter, shard_bytes=1)
    monkeypatch.setattr(caching, "FeatureWriter", small_shards)
    stream = caching.stream_patches

    def killed(*args, **options):
        for number, image in enumerate(stream(*args, **options)):
            if number == 2:
                raise KeyboardInterrupt
            yield image

    def cached():
        return Detector.fit(data.train, config, backbone=backbone, cache=tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(caching, "stream_patches", killed)
        with pytest.raises(KeyboardInterrupt):
            cached()
    detector = cached()
    assert sorted(set(counted)) == sorted(r.path.name for r in data.train)
    assert len(counted) == len(data.train) + 1  # the one that was under way when the run was killed
    again = Detector.fit(data.train, config, backbone=backbone)
    np.testing.assert_allclose(
        detector.state.posterior.counts, again.state.posterior.counts, rtol=1e-3
    )


def test_of_two_runs_on_the_same_images_one_does_the_work(
    tmp_path, data, config, backbone, counted
):
    def extract():
        return training_patches(data.train, config, backbone, cache=tmp_path).features[:]

    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(extract) for _ in range(2)]]
    np.testing.assert_array_equal(first, second)
    assert len(counted) == len(data.train)


def test_another_run_may_add_some_of_the_images_meanwhile(
    tmp_path, data, config, backbone, monkeypatch
):
    stream = caching.stream_patches

    def interrupted(records, *args, **options):
        for number, image in enumerate(stream(records, *args, **options)):
            if number == 2 and len(records) == len(data.train):
                training_patches(data.train[3:5], config, backbone, cache=tmp_path)
            yield image

    monkeypatch.setattr(caching, "stream_patches", interrupted)
    found = training_patches(data.train, config, backbone, cache=tmp_path)
    np.testing.assert_array_equal(
        found.features[:], training_patches(data.train, config, backbone).features
    )
    (store,) = tmp_path.iterdir()
    assert len(FeatureStore(store)) == len(found.features)


def test_a_finished_cache_is_read_where_nothing_may_be_written(
    tmp_path, data, config, backbone, monkeypatch
):
    first = training_patches(data.train, config, backbone, cache=tmp_path)

    def refuse(*args, **options):
        raise PermissionError("read-only")

    monkeypatch.setattr(caching, "FeatureWriter", refuse)
    monkeypatch.setattr(caching, "locked", refuse)
    again = training_patches(data.train, config, backbone, cache=tmp_path)
    np.testing.assert_array_equal(first.features[:], again.features[:])


def test_training_reads_from_the_store_itself(tmp_path, data, config, backbone):
    patches = training_patches(data.train, config, backbone, cache=tmp_path)
    assert isinstance(patches.features, FeatureStore)
    fewer = training_patches(data.train[1:4], config, backbone, cache=tmp_path)
    assert isinstance(fewer.features, np.ndarray)
    np.testing.assert_array_equal(fewer.features, patches.features[36 : 4 * 36])
    assert [name for name, _ in fewer.sources] == [str(r.path) for r in data.train[1:4]]


def test_unreadable_images_are_skipped_in_a_cache_too(tmp_path, data, config, backbone):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no")
    records = [ImageRecord(damaged), *data.train]
    with pytest.warns(UserWarning, match=r"image skipped: .*damaged.png"):
        found = list(cached_patches(records, config, backbone, tmp_path / "cache"))
    assert [image.record for image in found] == list(data.train)
    with pytest.raises(ValueError, match=r"damaged\.png"):
        list(cached_patches(records, config, backbone, tmp_path / "cache", strict=True))
    with (
        pytest.warns(UserWarning, match="image skipped"),
        pytest.raises(ValueError, match="at least one readable image, got 1 that cannot be read"),
    ):
        list(cached_patches(records[:1], config, backbone, tmp_path / "nothing"))


def test_layers_joined_as_a_mean_are_kept_with_the_model(tmp_path, data, config, backbone):
    mean = dataclasses.replace(config, layers=(1, 2), join="mean")
    detector = Detector.fit(data.train, mean, backbone=backbone, cache=tmp_path / "cache")
    assert detector.state.num_inputs == backbone.config.hidden_size
    detector.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", backbone=backbone)
    assert loaded.config == detector.config
    ours, theirs = (next(one.score(data.test)) for one in (detector, loaded))
    np.testing.assert_array_equal(ours.patch_scores, theirs.patch_scores)


def test_foreground_is_a_matter_of_the_settings(data, config, backbone):
    masked = dataclasses.replace(config, foreground=True)
    detector = Detector.fit(data.train, masked, backbone=backbone)
    seen = dataclasses.replace(detector.config, foreground=False)
    plain = Detector(seen, detector.state, backbone)
    for ours, theirs in zip(detector.score(data.test), plain.score(data.test), strict=True):
        kept = ours.patch_scores == theirs.patch_scores
        assert kept.any()
        assert np.all(ours.patch_scores[~kept] == ours.patch_scores[kept].min())


def test_evaluate_is_one_call(data, config, backbone):
    detector = Detector.fit(data.train, config, backbone=backbone)
    figures = detector.evaluate(data.test, data.train[:2])
    assert figures["image_auroc"] == 1.0
    assert figures["pixel_aupro"] > 0.5
    assert figures["pixel_dice_at_0.1"] > 0
    assert jax.tree.all(jax.tree.map(np.isfinite, figures["intervals"]))
