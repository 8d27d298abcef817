"""Files that are whole or not there, with any number of writers, and nothing left of those that were killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxdpmm.storage import files

# Without the package, whose import takes a second; `write` is given the file's name and never ends.
KILLED = f"""
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("files", {files.__file__!r})
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)

def write(path):
    path.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)

files.replace_file(pathlib.Path(sys.argv[1]), write)
"""


def save(path, content=b"whole"):
    files.replace_file(path, lambda aside: aside.write_bytes(content))


def partial_folders(folder):
    return [name for name in os.listdir(folder) if name.endswith(files.PARTIAL)]


def test_threads_that_write_one_file_at_the_same_moment_do_not_meet(tmp_path):
    path, errors = tmp_path / "model", []
    half_way = threading.Barrier(4, timeout=60)

    def write(number):
        def parts(aside):
            with aside.open("wb") as file:
                file.write(b"%d" % number * 1000)
                half_way.wait()
                file.write(b"%d" % number * 1000)

        try:
            files.replace_file(path, parts)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert path.read_bytes() in [b"%d" % number * 2000 for number in range(4)]
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_killed_writer_left_is_removed_by_the_next_save_but_not_while_it_lives(tmp_path):
    path = tmp_path / "model"
    command = [sys.executable, "-c", KILLED, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
        files.remove_partial_files(tmp_path)
        (living,) = partial_folders(tmp_path)
        assert (tmp_path / living / "model").read_bytes() == b"half"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert partial_folders(tmp_path) == [living]
    save(tmp_path / "another model")
    assert os.listdir(tmp_path) == ["another model"]


@pytest.mark.parametrize("owner", [None, b"", b"another machine"])
def test_without_a_lock_to_ask_age_decides(owner, tmp_path):
    left = tmp_path / f"{files.PREFIX}abc{files.PARTIAL}"
    left.mkdir()
    (left / "model").write_bytes(b"half")
    if owner is not None:
        (left / files.OWNER).write_bytes(owner)
    files.remove_partial_files(tmp_path)
    assert left.exists()
    long_ago = time.time() - files.MAX_AGE - 60
    for path in [left, *left.iterdir()]:
        os.utime(path, (long_ago, long_ago))
    (left / "model").touch()
    files.remove_partial_files(tmp_path)
    assert left.exists()  # somebody is still writing
    os.utime(left / "model", (long_ago, long_ago))
    files.remove_partial_files(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "content", "ours"),
    [
        (".model.17.partial", "model", True),
        (".model.17.partial", ".tmpX1", True),
        (".model.17.partial", "film", False),
        (".model.partial", "model", False),
    ],
)
def test_folders_of_earlier_versions_are_removed_and_those_of_other_programs_are_not(
    name, content, ours, tmp_path
):
    (tmp_path / name).mkdir()
    (tmp_path / name / content).touch()
    long_ago = time.time() - files.MAX_AGE - 60
    for path in (tmp_path / name / content, tmp_path / name):
        os.utime(path, (long_ago, long_ago))
    save(tmp_path / "another model")
    assert (tmp_path / name).exists() != ours


def test_a_folder_is_not_listed_for_every_file_that_is_written_into_it(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(files, "remove_partial_files", listed.append)
    for number in range(5):
        save(tmp_path / str(number))
    assert listed == [tmp_path]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_are_those_of_the_old_file_or_of_new_files_here(tmp_path):
    def private(path):
        path.touch(0o600)

    (tmp_path / "usual").touch()
    files.replace_file(tmp_path / "model", private)
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "model").chmod(0o640)
    save(tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o640


def test_the_longest_name_that_a_file_may_have(tmp_path):
    save(tmp_path / ("x" * 255))
    assert os.listdir(tmp_path) == ["x" * 255]
