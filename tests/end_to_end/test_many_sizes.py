"""Data of 200 sizes in one process: memory stays where it was, scores and images alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc, json, pathlib, sys
import jax, numpy as np, psutil
import jaxdpmm
from jaxdpmm.detection.banks import memory_bank
from jaxdpmm.detection.maps import _image_scores
from jaxdpmm.detection.scored import compile_scorer
from jaxdpmm.features import PatchExtractor, load_backbone
from jaxdpmm.features.extractor import _extract
from jaxdpmm.scoring import predictive, score
sys.path.insert(0, sys.argv[1])
from synthetic import write_backbone

def megabytes():
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6

def grown(function, sizes):
    for size in sizes[:40]:
        function(size)
    before = megabytes()
    for size in sizes:
        function(size)
    return megabytes() - before

random = np.random.default_rng(0)
x = random.normal(size=(4000, 32)).astype(np.float32)
mixture = jaxdpmm.Mixture(jaxdpmm.GaussianDiagonal(32), 10)
prior = jaxdpmm.default_prior(mixture, x)
posterior = jaxdpmm.initialize(mixture, prior, x, key=jax.random.key(0))
sizes = random.permutation(np.arange(20, 4020, 20)).tolist()
backbone = load_backbone(write_backbone(pathlib.Path(sys.argv[2], "tiny")))
extractor, score_patches = PatchExtractor(1), compile_scorer(predictive(mixture), posterior)

def of_image(number):
    height, width = 14 * (2 + number // 20 % 20), 14 * (2 + number // 400)
    return score_patches(extractor.extract(backbone, np.full((1, height, width, 3), 0.5, np.float32)))

print(json.dumps({
    "score": grown(lambda n: score(predictive(mixture), posterior, x[:n]), sizes),
    "density": grown(lambda n: jaxdpmm.log_predictive_density(mixture, posterior, x[:n]), sizes),
    "bank": grown(lambda n: score(memory_bank(), x, x[:n]), sizes),
    "images": grown(of_image, sizes),
    "programs": _extract.program.cache_info().currsize,
}))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_sizes(tmp_path):
    """Before sizes were rounded up, each of the 200 kept 2 to 4 MB."""
    pytest.importorskip("psutil")
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parents[1]), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("programs") == 32
    assert max(found.values()) < 120, found
