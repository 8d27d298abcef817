import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from jaxdpmm import cli
from jaxdpmm.detection import DetectorConfig, ImagePatches, TrainingPatches
from jaxdpmm.detection.learning import learn
from jaxdpmm.detection.scored import score_images
from jaxdpmm.detection.scores.composition import compile_images
from jaxdpmm.detection.scores.histograms import (
    divergences,
    histogram_score,
    learn_histograms,
    volume_profile,
)
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.images.records import ImageRecord

FRAME = frame_of((56, 56), Preprocessing(56, 14))  # four rows of four patches
GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.multinomial(200, [0.5, 0.3, 0.15, 0.05], size=6)


def test_the_divergence_of_shares_from_a_known_dirichlet_has_its_known_mean():
    normal = learn_histograms(NORMAL)
    counts = np.array([3, 1, 0, 4])
    shares = np.random.default_rng(1).dirichlet(counts + normal.prior, size=200_000)
    for one, found in zip(normal.shares, divergences(normal, counts, "kl"), strict=True):
        drawn = np.sum(shares * (np.log(shares) - np.log(one)), axis=1)
        np.testing.assert_allclose(found, drawn.mean(), atol=5 * drawn.std() / len(drawn) ** 0.5)


def test_jensen_shannon_is_that_of_scipy():
    normal = learn_histograms(NORMAL)
    counts = np.array([0, 10, 0, 30])
    mean = (counts + normal.prior) / (counts + normal.prior).sum()
    expected = [jensenshannon(mean, one) ** 2 for one in normal.shares]
    np.testing.assert_allclose(divergences(normal, counts), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["kl", "js"])
def test_too_much_of_a_normal_component_is_found(kind):
    normal = learn_histograms(NORMAL)
    usual = GENERATOR.multinomial(200, [0.5, 0.3, 0.15, 0.05], size=20)
    odd = GENERATOR.multinomial(200, [0.3, 0.3, 0.15, 0.25], size=20)
    scores = [[histogram_score(normal, one, kind) for one in some] for some in (usual, odd)]
    assert max(scores[0]) < min(scores[1])


def test_an_image_of_few_patches_is_not_odd_for_being_small():
    normal = learn_histograms(NORMAL, concentration=50.0)
    few, many = np.array([2, 1, 1, 0]), np.array([50, 30, 15, 5])
    assert histogram_score(normal, few) < histogram_score(normal, many[::-1]) / 5


def test_the_nearest_normal_images_count():
    normal = learn_histograms(np.array([[90, 10], [10, 90]]), concentration=1.0)
    near, mean = (histogram_score(normal, np.array([88, 12]), "js", number) for number in (1, 2))
    assert near < 0.01 < mean


def test_bad_input_is_told_in_a_sentence():
    normal = learn_histograms(NORMAL)
    with pytest.raises(ValueError, match="kind must be one of kl, js, got 'l2'"):
        divergences(normal, NORMAL[0], "l2")
    with pytest.raises(ValueError, match=r"counts must be those of 4 components, got shape \(3,\)"):
        divergences(normal, NORMAL[0, :3])
    for none, number in ((NORMAL[:0], 0), (0 * NORMAL, 6)):
        with pytest.raises(ValueError, match=f"got 0 patches in {number} images; count normal"):
            learn_histograms(none)


def test_slices_of_a_volume_that_are_odd_stand_out_and_make_its_score():
    normal = learn_histograms(NORMAL)
    random = np.random.default_rng(3)
    counts = random.multinomial(200, [0.5, 0.3, 0.15, 0.05], size=20)
    usual = volume_profile(normal, counts)
    counts[8:10] = random.multinomial(200, [0.2, 0.3, 0.15, 0.35], size=2)
    found = volume_profile(normal, counts)
    assert set(np.argsort(-found.slices)[:2].tolist()) == {8, 9}
    assert found.volume == pytest.approx(found.slices[8:10].mean())
    assert found.volume > 2 * usual.volume
    assert found.slices[0] == histogram_score(normal, counts[0])
    assert volume_profile(normal, counts[:1]).volume == found.slices[0]
    with pytest.raises(
        ValueError, match="number of slices must be at least 1, got 0; give a volume"
    ):
        volume_profile(normal, counts[:0])


def of_two_kinds(number, seed, share=0.25):
    """Grids of patches, of which a share are of the second kind."""
    random = np.random.default_rng(seed)
    kinds = random.permuted(np.arange(16)[None] < [[16 * share]] * number, axis=1)
    found = 0.1 * random.normal(size=(number, 16, 3)) + 3.0 * kinds[..., None]
    return found.reshape(number, 4, 4, 3).astype(np.float32)


def test_a_detector_scores_images_by_what_they_are_made_of_and_training_images_without_themselves():
    grids = of_two_kinds(12, 0)
    grids[0] = of_two_kinds(1, 1, share=0.75)[0]  # no patch is odd
    sources = tuple((f"{number}.png", FRAME.grid) for number in range(12))
    patches = TrainingPatches(grids.reshape(-1, 3), 12, sources, (FRAME,) * 12)
    config = DetectorConfig(num_components=2, image_score="divergence", thresholds="leave_one_out")
    state = learn(patches, config).state
    first, *others = state.training_images
    assert first.image == "0.png"
    assert first.score > 10 * max(one.score for one in others)
    assert state.calibration.image.scores[-2] == first.score
    images = [
        ImagePatches(ImageRecord(f"{share}.png"), FRAME, of_two_kinds(1, 2, share)[0], 0.0)
        for share in (0.25, 0.5, 1.0)
    ]
    scorers = {"": lambda features: np.zeros(features.shape[:-1])}
    whole = {"": compile_images(state)}
    found = [one[""].score for one in score_images(images, scorers, config, whole=whole)]
    assert found[0] < found[1] < found[2]
    with pytest.raises(ValueError, match=r'image_score must be "top" where training patches are n'):
        learn(patches._replace(frames=(), sources=()), config)


def test_what_does_not_go_with_the_divergence_is_told_in_a_sentence(data, tmp_path, capsys):
    folder = str(data.train[0].path.parents[2])
    arguments = ["fit", folder, "--output", str(tmp_path / "model"), "--image-score"]
    for more, reason in (
        (["best"], "image_score must be one of top, divergence, got 'best'; choose one of them."),
        (["divergence", "--keep-images"], 'image_score must be "top" with keep_images, got "div'),
    ):
        assert cli.run([*arguments, *more]) == 2
        assert reason in capsys.readouterr().err
