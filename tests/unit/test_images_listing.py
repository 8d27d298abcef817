"""What lies in folders and is no plain image: pipes, folders called like files, links in circles, odd names."""

import os
import socket

import pytest
from PIL import Image

from jaxdpmm.images import listing
from jaxdpmm.images.layouts import open_data_set, read_folder
from jaxdpmm.images.reading import load_image


def names(records):
    return sorted(record.path.name for record in records)


@pytest.fixture
def folder(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "0.png")
    return tmp_path


def test_what_would_never_end_when_read_is_no_file(folder, monkeypatch):
    for name in ("pipe", "pipe.png", "pipe.dcm"):
        os.mkfifo(folder / name)
    monkeypatch.chdir(folder)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.png")
        assert names(read_folder(folder)) == names(open_data_set(folder).train) == ["0.png"]
    assert listing.content_of(folder) == "0 folders, 1 images, 0 other files"


def test_folders_called_like_files_are_folders(folder):
    for name in ("a.png", "b.nii.gz", "c.dcm", "d.npy"):
        (folder / name).mkdir()
        Image.new("L", (4, 4)).save(folder / name / "1.png")
    assert names(read_folder(folder)) == ["0.png", *["1.png"] * 4]


def test_links_in_circles(folder):
    (folder / "self.png").symlink_to("self.png")
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "here").symlink_to(".")
    with pytest.warns(UserWarning, match=r"whose files it has already \(1: here\)"):
        records = read_folder(folder)
    assert names(records) == ["0.png", "a.png", "b.png", "self.png"]
    for record in records[1:]:
        with pytest.raises(FileNotFoundError, match=r"\.png \(nothing there\)"):
            load_image(record.path)


@pytest.mark.parametrize("name", ["-o.png", "--help.png", " .png", "a\nb.png", "%d.png", "[x].png"])
def test_names_that_look_like_something_else(folder, name):
    Image.new("L", (4, 4), 7).save(folder / name)
    assert name in names(read_folder(folder))
    assert load_image(folder / name).shape == (4, 4, 3)


def test_folders_that_may_not_be_opened_are_told_of(folder, monkeypatch):
    (folder / "locked").mkdir()
    scan = os.scandir

    def closed(path):
        if os.fspath(path).endswith("locked"):  # the mode of a folder is nothing to root
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.warns(UserWarning, match=r"may not be opened \(1: locked\); change their mode"):
        assert names(read_folder(folder)) == ["0.png"]


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.dcm"])
def test_a_volume_given_as_an_image_is_told_where_it_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"DICM")
    with pytest.raises(ValueError, match=r"; use images\.volumes\.read_volumes\.$"):
        load_image(tmp_path / name)
