"""Which DICOM files make a volume: times, directions and gaps, radiographs, what lies beside a series, bad files."""

import medical
import numpy as np
import pytest

from jaxdpmm.images.layouts import read_folder, read_images
from jaxdpmm.images.reading import pixels_of
from jaxdpmm.images.volumes import load_volume, read_volume, read_volumes

pydicom = pytest.importorskip("pydicom")

AXIAL, SAGITTAL, CORONAL = (1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)


def write(folder, number, value, position=0.0, plane=AXIAL, **fields):
    """A slice of one value, across the third axis at a position."""
    folder.mkdir(exist_ok=True)
    normal = np.cross(plane[:3], plane[3:])
    fields = {"RescaleIntercept": 0, "InstanceNumber": number, **fields}
    return medical.write_dicom(
        folder / f"{number:03d}.dcm",
        np.full((4, 6), value),
        ImageOrientationPatient=list(plane),
        ImagePositionPatient=(position * normal).tolist(),
        **fields,
    )


def volumes_of(folder):
    """What the slices of each volume hold, in the order of the records."""
    found = {}
    for record in read_volumes(folder):
        values = record.source.volume().values[:, :, record.source.index]
        found.setdefault(record.source.places, []).append(int(values[0, 0]))
    return list(found.values())


@pytest.mark.parametrize("how", ["by their order", "by temporal position", "by acquisition"])
def test_times_are_volumes_of_their_own(tmp_path, how):
    named = {
        "by temporal position": "TemporalPositionIdentifier",
        "by acquisition": "AcquisitionNumber",
    }
    for number in range(6):
        time, place = (number % 2, number // 2) if how == "by acquisition" else divmod(number, 3)
        fields = {named[how]: time + 1} if how in named else {}
        write(tmp_path / "a", number, 100 * time + place, place, **fields)
    assert volumes_of(tmp_path / "a") == [[0, 1, 2], [100, 101, 102]]
    with pytest.raises(
        ValueError, match=r"one volume, got .* with 2 by direction, .*\(of 3, 3 slices"
    ):
        load_volume(tmp_path / "a")
    names = [record.path.relative_to(tmp_path).as_posix() for record in read_folder(tmp_path)]
    assert names == [f"a/{volume:03d}-{i:04d}" for volume in range(2) for i in range(3)]


def test_a_slice_missing_at_one_time(tmp_path):
    for number, (time, place) in enumerate([(1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]):
        write(tmp_path / "named", number, 100 * time + place, place, AcquisitionNumber=time)
        write(tmp_path / "unnamed", number, 100 * time + place, place)
    assert volumes_of(tmp_path / "named") == [[100, 102], [200, 201, 202]]
    (record,) = read_volumes(tmp_path / "unnamed")
    with pytest.raises(
        ValueError, match=r"positions of their own, got .* with 1 to 2 at one position"
    ):
        pixels_of(record)


def test_directions_sizes_and_gaps_part_volumes(tmp_path):
    for number, plane in enumerate([AXIAL, CORONAL, SAGITTAL]):
        write(tmp_path / "scout", number, number, plane=plane)
    assert volumes_of(tmp_path / "scout") == [[0], [1], [2]]
    assert [r.path.name for r in read_volumes(tmp_path / "scout")] == [
        "000.dcm",
        "001.dcm",
        "002.dcm",
    ]
    for number, place in enumerate([8, 0, 7, 1, 2]):
        write(tmp_path / "gap", number, place, place)
    assert sorted(volumes_of(tmp_path / "gap")) == [[0, 1, 2], [7, 8]]
    write(tmp_path / "sizes", 0, 5, 0)
    medical.write_dicom(tmp_path / "sizes" / "b.dcm", np.zeros((8, 8)), 1.0)
    assert len(volumes_of(tmp_path / "sizes")) == 2
    write(
        tmp_path / "oblique", 0, 5, 3, (1, 0, 0, 0, 0.9999999, 0.0004)
    )  # noise of the last digits
    write(tmp_path / "oblique", 1, 6, 2)
    assert volumes_of(tmp_path / "oblique") == [[6, 5]]


def test_a_film_stays_in_its_order(tmp_path):
    for number in range(4):
        write(tmp_path / "film", number, 10 - number)
    assert volumes_of(tmp_path / "film") == [[10, 9, 8, 7]]
    frames = np.stack([np.full((4, 6), value) for value in (3, 1, 2)])
    path = medical.write_dicom(tmp_path / "film.dcm", frames, RescaleIntercept=0)
    assert volumes_of(path) == [[3, 1, 2]]
    assert [r.path.name for r in read_volumes(path)] == [f"film.dcm-{i:04d}" for i in range(3)]


def test_copies_and_objects_without_pixels_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "a"
    for number in range(3):
        write(folder, number, number, number)
    (folder / "copy.dcm").write_bytes((folder / "001.dcm").read_bytes())
    (folder / "README.txt").write_text("exported by")
    for name, modality in (("plan.dcm", "RTSTRUCT"), ("report", "SR")):
        dataset = medical.dicom_dataset(np.zeros((4, 6)), Modality=modality)
        del dataset.PixelData
        dataset.save_as(folder / name, enforce_file_format=True)
    marks = {"Modality": "SEG", "SeriesInstanceUID": "1.2.4"}
    medical.write_dicom(folder / "marks.dcm", np.zeros((4, 6)), **marks)
    with pytest.warns(
        UserWarning, match=r"no pictures \(1 copies, 1 of modality SEG, 2 without pixels"
    ):
        records = read_folder(tmp_path)
    assert [record.path.name for record in records] == ["0000", "0001", "0002"]


def test_files_that_cannot_be_read_are_one_record_each(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for number in range(3):
        write(tmp_path / "a", number, number, number)
        write(tmp_path / "b", number, number, number)
    (tmp_path / "a" / "no.dcm").write_text("no DICOM")
    content = (tmp_path / "b" / "001.dcm").read_bytes()
    (tmp_path / "b" / "001.dcm").write_bytes(content[:-20])
    good = medical.write_nifti(tmp_path / "good.nii.gz", np.ones((4, 5, 2), np.float32))
    (tmp_path / "cut.nii.gz").write_bytes(good.read_bytes()[:60])
    times = nibabel.Nifti1Image(np.ones((4, 5, 2, 3), np.float32), np.eye(4))
    nibabel.save(times, tmp_path / "times.nii")
    bad = {}
    for record in read_folder(tmp_path):
        try:
            pixels_of(record)
        except ValueError as error:
            bad[record.path.name] = str(error)
    assert sorted(bad) == ["000.dcm", "cut.nii.gz", "no.dcm", "times.nii"]
    assert "001.dcm" in bad["000.dcm"]
    assert "choose one channel or time" in bad["times.nii"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Modality": "CR"},
        {"Modality": "MG", "SeriesInstanceUID": "1.2.9"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    ],
)
def test_radiographs_are_images_and_no_slices(tmp_path, fields):
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    for number, side in enumerate((8, 8, 12)):
        values = np.full((side, side), number)
        name = tmp_path / f"patient{number}.dcm"
        medical.write_dicom(
            name, values, **{"SeriesInstanceUID": f"1.{number}", **nowhere, **fields}
        )
    records = read_folder(tmp_path)
    assert [record.path.name for record in records] == [f"patient{i}.dcm" for i in range(3)]
    assert [pixels_of(record).shape[0] for record in records] == [8, 8, 12]


@pytest.mark.parametrize("suffix", ["", ".IMA", ".dicom", ".1"])
def test_dicom_is_known_by_its_content(tmp_path, suffix):
    (tmp_path / "DICOM").mkdir()
    for number in (1, 0):
        values = np.full((4, 4), number)
        medical.write_dicom(tmp_path / "DICOM" / f"IM{number}{suffix}", values, number)
    records = read_folder(tmp_path)
    assert [record.path.name for record in records] == ["0000", "0001"]
    assert [record.source.volume().values[0, 0, i] for i, record in enumerate(records)] == [
        -1024,
        -1023,
    ]
    (single,) = read_images(tmp_path / "DICOM" / f"IM0{suffix}")
    assert single.path.name == f"IM0{suffix}"


def test_two_series_in_one_folder_are_two_volumes(tmp_path):
    for number in range(4):
        write(tmp_path / "a", number, number, number // 2, SeriesInstanceUID=f"1.{number % 2}")
    assert volumes_of(tmp_path / "a") == [[0, 2], [1, 3]]
    with pytest.raises(ValueError, match=r"files of one DICOM series, got .* with 2; sort them"):
        read_volume(tmp_path / "a")


def test_a_volume_is_read_anew_when_its_files_change(tmp_path):
    folder = tmp_path / "a"
    for number in range(2):
        write(folder, number, number, number)
    assert load_volume(folder) is load_volume(folder)
    write(folder, 2, 7, 2)
    assert load_volume(folder).values[0, 0].tolist() == [0, 1, 7]
    write(folder, 1, 5, 1)
    assert load_volume(folder).values[0, 0].tolist() == [0, 5, 7]
    (folder / "002.dcm").unlink()
    assert load_volume(folder).values.shape == (4, 6, 2)


def test_voxels_lie_where_the_files_say(tmp_path):
    for number in range(3):
        write(tmp_path / "a", number, number, 2.5 * number, CORONAL, PixelSpacing=[0.5, 0.75])
    volume = load_volume(tmp_path / "a")
    assert volume.spacing == (0.5, 0.75, 2.5)
    at = volume.affine @ [1, 2, 2, 1]  # second row, third column, third slice
    np.testing.assert_allclose(at[:3], [-1.5, -5, -0.5])  # left and posterior are negative in NIfTI
    (record, *_) = read_volume(tmp_path / "a", axis=1)
    assert pixels_of(record).shape == (4, 15, 3)  # 0.5 mm down the rows, 2.5 mm from slice to slice
