"""Order, bounded memory, skipping with a count, and batches of equal size."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from jaxdpmm.images import streaming
from jaxdpmm.images.geometry import Preprocessing
from jaxdpmm.images.records import ImageRecord
from jaxdpmm.images.streaming import ImageStream, in_batches

SIZES = Preprocessing(short_side=14, patch_size=14)


@pytest.fixture
def records(tmp_path):
    """Six images whose brightness is their number; the last two are wider."""
    for i in range(6):
        Image.new("L", (14 if i < 4 else 28, 14), i * 10).save(tmp_path / f"{i}.png")
    return tuple(ImageRecord(tmp_path / f"{i}.png") for i in range(6))


def test_order_is_kept_on_every_pass(records):
    stream = ImageStream(records, SIZES, num_threads=3, ahead=2)
    for _ in range(2):
        images = list(stream)
        assert tuple(image.record for image in images) == records
        np.testing.assert_allclose(
            [image.pixels.mean() * 255 for image in images], range(0, 60, 10), atol=1e-4
        )
    assert (len(stream), stream.skipped) == (6, [])


def test_unreadable_image_is_skipped_and_counted(records):
    records[1].path.write_bytes(records[1].path.read_bytes()[:50])
    records[3].path.unlink()
    stream = ImageStream(records, SIZES)
    with pytest.warns(UserWarning, match=r"image skipped: .*[13]\.png") as caught:
        images = list(stream)
    assert len(caught) == 2
    assert [image.record for image in images] == [records[i] for i in (0, 2, 4, 5)]
    assert stream.skipped == [records[1], records[3]]


def test_strict_stops_at_the_first_unreadable_image(records):
    records[1].path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"whole file .* got .*1\.png"):
        list(ImageStream(records, SIZES, strict=True))


def test_nothing_readable(records):
    for record in records:
        record.path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="image skipped"),
        pytest.raises(ValueError, match=r"at least one readable image, got 6 that cannot be read"),
    ):
        list(ImageStream(records, SIZES))


def test_no_more_than_ahead_are_prepared_beforehand(records, monkeypatch):
    begun, lock = [], threading.Lock()
    see = streaming.see

    def counted(record, value_range):
        with lock:
            begun.append(record)
        return see(record, value_range)

    monkeypatch.setattr(streaming, "see", counted)
    images = iter(ImageStream(records, SIZES, num_threads=4, ahead=2))
    next(images)
    time.sleep(0.1)  # time enough for threads that would not stop
    assert len(begun) <= 2
    images.close()
    assert len(begun) <= 3


def test_batches_hold_neighbours_of_equal_size(records):
    batches = list(in_batches(ImageStream(records, SIZES), 3))
    assert [batch.pixels.shape for batch in batches] == [
        (3, 14, 14, 3),
        (1, 14, 14, 3),
        (2, 14, 28, 3),
    ]
    assert sum((batch.records for batch in batches), ()) == records
    assert batches[2].frames[0].original == (14, 28)


def test_bad_arguments(records):
    with pytest.raises(ValueError, match="records must hold at least one image, got none"):
        ImageStream((), SIZES)
    with pytest.raises(ValueError, match="num_threads and ahead must be at least 1, got 0 and 8"):
        ImageStream(records, SIZES, num_threads=0)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        list(in_batches(ImageStream(records, SIZES), 0))
