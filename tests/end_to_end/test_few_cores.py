"""Fits end on two cores and on one: no program waits for the pool of threads that it runs on."""

import pathlib
import subprocess
import sys

import pinned_fits
import pytest

pytestmark = pytest.mark.optimised

SCRIPT = pathlib.Path(pinned_fits.__file__)
ROOT = pathlib.Path(__file__).parents[2]


def run(num_cores, times, names, limit):
    """Seconds of waiting are bounded; a fit that hangs sleeps for ever."""
    command = [sys.executable, str(SCRIPT), str(num_cores), str(times), ",".join(names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} ended" for name in names]


@pytest.mark.parametrize("num_cores", [1, 2])
def test_batches_of_factors_end(num_cores):
    """With LAPACK's batches this hung on two cores, every time."""
    run(num_cores, 1, ["batches"], 300)


@pytest.mark.slow
@pytest.mark.parametrize("num_cores", [1, 2])
@pytest.mark.parametrize("name", sorted(pinned_fits.CASES))
def test_fits_end_every_time(num_cores, name):
    run(num_cores, 20, [name], 3600)
