"""Slices of NIfTI and DICOM: intensities, order, windows of whole volumes, masks, and files that are wrong."""

import sys

import numpy as np
import pytest
from medical import write_dicom, write_nifti

from jaxdpmm.images.layouts import read_folder
from jaxdpmm.images.reading import mask_of, pixels_of
from jaxdpmm.images.volumes import load_volume, read_volume

pytest.importorskip("nibabel")
pytest.importorskip("pydicom")


def test_nifti_slices_share_one_window(tmp_path):
    values = np.arange(5 * 6 * 4, dtype=np.int16).reshape(5, 6, 4)
    records = read_volume(write_nifti(tmp_path / "scan.nii.gz", values), window=(0, 119))
    assert [record.path.name for record in records] == [f"scan.nii.gz-{i:04d}" for i in range(4)]
    for number, record in enumerate(records):
        expected = (values[:, :, number] / 119).astype(np.float32)
        np.testing.assert_allclose(pixels_of(record)[:, :, 1], expected, atol=1e-6)
    assert len(read_volume(tmp_path / "scan.nii.gz", axis=0)) == 5
    low, high = load_volume(tmp_path / "scan.nii.gz").window
    np.testing.assert_allclose([low, high], np.quantile(values, [0.005, 0.995]))
    assert pixels_of(read_volume(tmp_path / "scan.nii.gz")[0]).min() == 0


def test_masks_label_the_slices(tmp_path):
    values = np.zeros((4, 4, 3), np.float32)
    marks = np.zeros((4, 4, 3), np.uint8)
    marks[1:3, 2, 1] = 4
    scan, truth = (write_nifti(tmp_path / n, v) for n, v in (("a.nii", values), ("b.nii", marks)))
    records = read_volume(scan, mask_path=truth)
    assert [(record.label, record.kind) for record in records] == [
        (0, "good"),
        (1, "anomalous"),
        (0, "good"),
    ]
    np.testing.assert_array_equal(mask_of(records[1]), marks[:, :, 1] > 0)
    assert pixels_of(records[0]).max() == 0  # a volume of one value has no window of its own
    other = write_nifti(tmp_path / "c.nii", marks[:2])
    with pytest.raises(
        ValueError, match=r"shape of its volume, \(4, 4, 3\), got .* \(2, 4, 3\); resam"
    ):
        read_volume(scan, mask_path=other)


def test_dicom_series_lies_in_space_and_in_hounsfield_units(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for name, position in (("a.dcm", 7.5), ("b.dcm", -2.5), ("c.dcm", 2.5)):
        stored = np.full((3, 4), 1024 + 10 * position)
        write_dicom(folder / name, stored, position, WindowCenter=40, WindowWidth=400)
    volume = load_volume(folder)
    np.testing.assert_array_equal(volume.values[0, 0], [-25, 25, 75])
    assert volume.window == (-160.0, 240.0)
    records = read_volume(folder)
    found = [float(pixels_of(record)[0, 0, 0]) for record in records]
    np.testing.assert_allclose(found, (np.array([-25, 25, 75]) + 160) / 400, rtol=1e-6)
    assert {record.path for record in read_folder(tmp_path)} == {record.path for record in records}
    single = read_volume(folder / "a.dcm", window=(0, 150))
    assert [float(pixels_of(record).max()) for record in single] == [0.5]
    write_dicom(folder / "d.dcm", stored, 9.0, SeriesInstanceUID="1.2.4")
    with pytest.raises(ValueError, match=r"files of one DICOM series, got .* with 2; sort them"):
        load_volume(folder)


def test_inverted_grey_is_turned_round(tmp_path):
    stored = np.array([[0, 65535], [65535, 0]])
    fields = {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": 0}
    (record,) = read_volume(write_dicom(tmp_path / "x.dcm", stored, 0, **fields))
    np.testing.assert_allclose(pixels_of(record)[:, :, 0], [[1, 0], [0, 1]], atol=0.01)


def test_files_that_are_no_volumes(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"NIfTI or DICOM file or a folder .*nothing there"):
        read_volume(tmp_path / "absent.nii")
    (tmp_path / "cut.nii.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(ValueError, match=r"whole NIfTI or DICOM volume, got .*cut\.nii\.gz"):
        load_volume(tmp_path / "cut.nii.gz")
    (tmp_path / "text.dcm").write_text("no")
    with pytest.raises(ValueError, match=r"whole NIfTI or DICOM volume, got .*text\.dcm"):
        load_volume(tmp_path / "text.dcm")
    four = write_nifti(tmp_path / "four.nii", np.zeros((2, 2, 2, 3), np.float32))
    with pytest.raises(ValueError, match=r"three axes, got .* with shape \(2, 2, 2, 3\)"):
        load_volume(four)
    with pytest.raises(ValueError, match="axis must be 0, 1 or 2 and window ascending, got 3"):
        read_volume(four, axis=3)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImportError, match=r'pip install "jaxdpmm\[medical\]"'):
        load_volume(four)
