"""Wheels are fetched by the real pip, from a folder of this test instead of the registry."""

import hashlib
import zipfile

import pytest

from jaxdpmm.storage import wheels


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip takes for its only source, and an empty cache."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.setenv("JAXDPMM_CACHE", str(tmp_path / "cache"))
    return folder


def make_wheel(folder, text="real content"):
    path = folder / "some_images-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_images/data.txt", text)
        archive.writestr(
            "some_images-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: some-images\nVersion: 1.0\n",
        )
        archive.writestr("some_images-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
        archive.writestr("some_images-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_fetched_once_and_unpacked(shelf, tmp_path):
    digest = make_wheel(shelf)
    path = wheels.fetch_wheel("some-images", "1.0", digest)
    assert path.is_relative_to(tmp_path / "cache")
    folder = wheels.unpack_wheel(path)
    assert (folder / "some_images" / "data.txt").read_text() == "real content"

    (shelf / path.name).unlink()  # a second call needs no pip
    assert wheels.fetch_wheel("some-images", "1.0", digest) == path
    assert wheels.unpack_wheel(path) == folder
    assert not list(path.parent.glob(".*"))


def test_damaged_file_in_the_cache_is_fetched_anew(shelf):
    digest = make_wheel(shelf)
    path = wheels.fetch_wheel("some-images", "1.0", digest)
    path.write_bytes(path.read_bytes()[:100])
    assert wheels.fetch_wheel("some-images", "1.0", digest) == path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_other_hash_is_refused_and_not_kept(shelf, tmp_path):
    make_wheel(shelf)
    with pytest.raises(ValueError, match=r"some-images 1\.0 must have SHA-256 00.*check which"):
        wheels.fetch_wheel("some-images", "1.0", "00" * 32)
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_absent_wheel_names_what_to_do(shelf):
    with pytest.raises(
        FileNotFoundError, match=r"some-images 1\.0 must be in .*ERROR: No match.*pip download"
    ):
        wheels.fetch_wheel("some-images", "1.0", "00" * 32)
