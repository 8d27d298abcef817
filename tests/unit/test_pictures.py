"""What pictures draw, against the numbers themselves: heights of lines and bars, places of patches. No pixels."""

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score

import jaxdpmm
from jaxdpmm import pictures
from jaxdpmm.detection.state import Examples
from jaxdpmm.images.geometry import Preprocessing, frame_of
from jaxdpmm.separation import separation


@pytest.fixture
def axes():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def fitted():
    """Two clusters of 30 and 70 points in the plane."""
    x = np.random.default_rng(0).normal(size=(100, 2)) + 8.0 * (np.arange(100) < 30)[:, None]
    mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(dim=2), num_components=5)
    prior = jaxdpmm.default_prior(mixture, x)
    start = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
    return mixture, prior, jaxdpmm.fit(jaxdpmm.cavi(mixture, prior), x, start, num_epochs=5), x


@pytest.fixture(scope="module")
def labelled():
    random = np.random.default_rng(1)
    labels = np.arange(60) % 3 == 0
    return labels, np.round(random.normal(size=60) + 1.5 * labels, 1)  # with ties


def test_points_of_components_are_their_widths_and_distances(axes, fitted):
    mixture, _, result, x = fitted
    found = separation(mixture, result.posterior, x)
    assert pictures.draw_separation(axes, found) is axes
    shown = found.num_points > 0
    places = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(places, np.stack([found.between, found.within], axis=1)[shown])
    largest = np.argmax(axes.collections[0].get_sizes())
    assert largest == np.argmax(found.num_points[shown])


def test_lines_over_sweeps_are_the_history(axes, fitted):
    _, _, result, _ = fitted
    numbers = [epoch.number for epoch in result.history]
    assert pictures.draw_objective(axes, result.history) is axes
    pictures.draw_active(axes, result.history)
    objective, active = axes.lines
    np.testing.assert_array_equal(objective.get_xdata(), numbers)
    np.testing.assert_array_equal(objective.get_ydata(), [e.objective for e in result.history])
    np.testing.assert_array_equal(active.get_ydata(), [e.num_active for e in result.history])


def test_sizes_stand_beside_what_the_prior_expects(axes, fitted):
    mixture, prior, result, _ = fitted
    assert pictures.draw_sizes(axes, mixture, prior, result.posterior) is axes
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, sorted(result.posterior.counts.tolist(), reverse=True))
    # Gamma(1, 1) has alpha = 1 in the mean: each stick breaks off half of what is left
    expected = 100 * np.array([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), expected, rtol=1e-6)


def test_contours_of_the_density_have_the_shares_of_points_outside(axes, fitted):
    mixture, _, result, x = fitted
    assert pictures.draw_density(axes, mixture, result.posterior, x) is axes
    points, contours = axes.collections
    np.testing.assert_array_equal(points.get_offsets(), x)
    densities = jaxdpmm.log_predictive_density(mixture, result.posterior, x)
    outside = [np.mean(densities < level) for level in contours.levels]
    np.testing.assert_allclose(outside, [0.01, 0.1, 0.25, 0.5, 0.75], atol=0.011)
    assert sum(len(path.vertices) > 0 for path in contours.get_paths()) == 5
    with pytest.raises(ValueError, match=r"x must have shape \(N, 2\) .* got \(3, 4\); draw two"):
        pictures.draw_density(axes, mixture, result.posterior, np.zeros((3, 4)))


def test_histogram_counts_every_image_once_and_has_a_line_at_each_threshold(axes, labelled):
    labels, scores = labelled
    drawn = pictures.draw_histogram(axes, scores, labels, {"5 % of normal": 1.25}, num_bins=10)
    assert drawn is axes
    heights = np.array([bar.get_height() for bar in axes.patches]).reshape(2, 10)
    np.testing.assert_array_equal(heights.sum(axis=1), [40, 20])
    assert axes.lines[0].get_xdata()[0] == 1.25
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(names) == ["5 % of normal", "anomalous", "normal"]
    alone = pictures.draw_histogram(Figure().add_subplot(), scores, num_bins=10)
    assert sum(bar.get_height() for bar in alone.patches) == 60


def test_the_area_below_the_roc_curve_is_auroc(axes, labelled):
    labels, scores = labelled
    assert pictures.draw_roc(axes, labels, scores, "mixture") is axes
    rate, found = axes.lines[0].get_data()
    area = roc_auc_score(labels, scores)
    np.testing.assert_allclose(np.trapezoid(found, rate), area, rtol=1e-6)
    assert axes.get_legend().get_texts()[0].get_text().startswith(f"mixture AUROC {area:.3f} (0.")


def test_the_area_below_the_steps_of_precision_is_average_precision(axes, labelled):
    labels, scores = labelled
    assert pictures.draw_precision_recall(axes, labels, scores) is axes
    recall, precision = axes.lines[0].get_data()
    area = average_precision_score(labels, scores)
    np.testing.assert_allclose(np.sum(np.diff(recall) * precision[1:]), area, rtol=1e-6)
    assert axes.lines[0].get_drawstyle() == "steps-pre"
    assert axes.get_legend().get_texts()[0].get_text().startswith(f"AUPR {area:.3f} (0.")


@pytest.mark.parametrize(
    ("draw", "place"), [(pictures.draw_roc, 0.2), (pictures.draw_precision_recall, 0.9)]
)
def test_the_band_holds_the_curve_and_grows_narrower_with_images(labelled, draw, place):
    labels, scores = labelled
    widths = []
    for times in (1, 20):
        axes = draw(Figure().add_subplot(), np.tile(labels, times), np.tile(scores, times))
        corners = axes.collections[0].get_paths()[0].vertices
        middle = corners[np.abs(corners[:, 0] - place) < 1e-9, 1]
        height = np.interp(place, *axes.lines[0].get_data())
        assert middle.min() - 0.05 <= height <= middle.max() + 0.05
        widths.append(np.ptp(middle))
    assert 0 < widths[1] < 0.5 * widths[0]


def test_images_of_one_kind_have_no_curve(axes):
    with pytest.raises(ValueError, match="must hold normal and anomalous images, got one kind"):
        pictures.draw_roc(axes, np.zeros(3), np.arange(3.0))


def test_every_patch_of_an_image_has_the_colour_of_its_component(axes):
    components = np.array([[0, 1, 21], [3, 4, 5]])
    assert pictures.draw_component_map(axes, components) is axes
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1, 1], [3, 4, 5]])
    assert list(axes.images[0].get_extent()) == [0, 3, 2, 0]


def test_component_map_lies_over_the_patches_of_the_image(axes):
    image = np.zeros((50, 80, 3), np.float32)
    frame = frame_of((50, 80), Preprocessing(short_side=28, patch_size=14))  # 2 x 3 of 25 pixels
    pictures.draw_component_map(axes, np.zeros(frame.grid, int), image, frame)
    left, right, bottom, top = axes.images[1].get_extent()
    assert (top, bottom) == (0, 50)
    assert right - left == pytest.approx(75, abs=1)
    assert left + right == pytest.approx(80, abs=2)  # the crop is centred
    with pytest.raises(ValueError, match=r"frame must be that .* got no frame; give the frame"):
        pictures.draw_component_map(axes, np.zeros((2, 3), int), image)
    with pytest.raises(ValueError, match=r"got a frame of \(2, 3\) patches"):
        pictures.draw_component_map(axes, np.zeros((2, 2), int), image, frame)


def test_atlas_shows_the_patches_that_were_learned_from_largest_components_first(axes):
    images = {"a": np.zeros((28, 42, 3)), "b": np.zeros((28, 42, 3))}
    images["a"][14:28, 14:28] = 0.5  # row 1, column 1
    images["b"][:14, 28:42] = 1.0  # row 0, column 2
    places = np.array(
        [[[0, 1, 1], [2, 0, 0]], [[-1, -1, -1]] * 2, [[1, 0, 2], [0, 1, 1]]]  # "gone" is image 2
    )
    examples = Examples(places, np.zeros((3, 2)), ("a", "b", "gone"))

    def load(name):
        if name not in images:
            raise FileNotFoundError(name)
        return images[name]

    preprocessing = Preprocessing(short_side=28, patch_size=14)
    crops = pictures.component_crops(examples, preprocessing, load, margin=0)
    assert [len(found) for found in crops] == [1, 0, 2]
    assert (crops[0][0] == 0.5).all()
    assert (crops[2][0] == 1.0).all()
    assert crops[2][0].shape == (14, 14, 3)
    wide = pictures.component_crops(examples, preprocessing, load)
    assert wide[2][0].shape == (28, 28, 3)  # cut off at the edge of the image

    assert pictures.draw_atlas(axes, np.array([20.0, 50.0, 30.0]), crops) is axes
    rows = [(image.get_extent()[3], image.get_extent()[0]) for image in axes.images]
    assert rows == [(0, 0), (0, 1), (1, 0)]
    np.testing.assert_array_equal(axes.images[0].get_array(), crops[2][0])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["2: 30.0%", "0: 20.0%"]
    few = pictures.draw_atlas(Figure().add_subplot(), np.ones(3), crops, num_components=1)
    assert len(few.images) == 1
