"""A tiny random DINOv2 and small synthetic images on disk: what the tests of the whole way need, in no time."""

import numpy as np
from dinov2_random import write_checkpoint
from PIL import Image

SIDE = 84
TINY = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 14,
    "mlp_ratio": 2,
}

TINY_DINOV3 = {
    "model_type": "dinov3_vit",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 224,
    "patch_size": 16,
    "num_register_tokens": 4,
    "use_gated_mlp": True,
    "hidden_act": "silu",
}


def write_backbone(folder, values=TINY):
    """A folder in Hugging Face format with two layers and random weights."""
    return write_checkpoint(folder, values)


def surface(seed: int, defective: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A grey surface with stripes and noise, (SIDE, SIDE) bytes, and the mask of a bright square on it."""
    random = np.random.default_rng(seed)
    stripes = 90 + 20 * np.sin(np.arange(SIDE) / 3 + random.uniform(0, 6))
    pixels = stripes[None] + random.normal(0, 6, (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), bool)
    if defective:
        top, left = random.integers(0, SIDE - 28, 2)
        mask[top : top + 28, left : left + 28] = True
        pixels[mask] = 250 - 10 * random.random(mask.sum())
    return np.clip(pixels, 0, 255).astype(np.uint8), mask


def write_mvtec(folder, num_train: int = 6, num_good: int = 3, num_defective: int = 3):
    """A data set in MVTec AD layout, by default of 12 images."""
    seeds = iter(range(1000))
    for kind, number in (("train/good", num_train), ("test/good", num_good)):
        (folder / kind).mkdir(parents=True)
        for name in range(number):
            Image.fromarray(surface(next(seeds))[0]).save(folder / kind / f"{name:02d}.png")
    for kind in ("test/square", "ground_truth/square"):
        (folder / kind).mkdir(parents=True)
    for name in range(num_defective):
        pixels, mask = surface(next(seeds), defective=True)
        Image.fromarray(pixels).save(folder / "test/square" / f"{name:02d}.png")
        Image.fromarray(mask).save(folder / "ground_truth/square" / f"{name:02d}_mask.png")
    return folder


def write_elpv(folder, num_normal: int = 8, num_defective: int = 3):
    """Cells in the layout of the ELPV data set."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(num_normal + num_defective):
        defective = number >= num_normal
        name = f"images/cell{number:04d}.png"
        Image.fromarray(surface(number, defective)[0]).save(folder / name)
        lines.append(f"{name} {float(defective)} {('mono', 'poly')[number % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def texture(seed: int, defective: bool = False) -> np.ndarray:
    """A surface as cameras see it, (SIDE, SIDE) bytes: 1/f grain and uneven light; scratches on defective ones."""
    random = np.random.default_rng(seed)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    spectrum = np.fft.fft2(random.normal(size=(SIDE, SIDE))) / np.maximum(frequencies, 1 / SIDE)
    grain = np.fft.ifft2(spectrum).real
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    light = 20 * np.sin(3 * rows + random.uniform(0, 1)) + 10 * columns
    pixels = 120 + 12 * grain / grain.std() + light + random.normal(0, 3, (SIDE, SIDE))
    for start in random.integers(10, SIDE - 40, (4, 2)) if defective else ():
        steps = np.arange(30)
        pixels[start[0] + steps, start[1] + steps // 2] = 5
        pixels[start[0] + steps, start[1] + steps // 2 + 1] = 250
    return np.clip(pixels, 0, 255).astype(np.uint8)
