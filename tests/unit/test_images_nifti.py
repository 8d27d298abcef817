"""NIfTI in the directions of its affine, against nibabel: planes, masks, square pixels, what is not a number, maps."""

from itertools import product

import medical
import numpy as np
import pytest

from jaxdpmm.detection.reporting.volume_maps import VolumeMaps
from jaxdpmm.images.layouts import read_images
from jaxdpmm.images.reading import mask_of, pixels_of
from jaxdpmm.images.volumes import load_volume, read_volume

nibabel = pytest.importorskip("nibabel")
orientations = nibabel.orientations

SHAPE, SIZES = (6, 8, 4), (1.0, 1.0, 3.0)
ALL_WAYS = ["".join(way) for way in product("RL", "AP", "SI")] + ["SRA", "ILP", "ASR", "PIR"]


@pytest.fixture
def anatomy():
    return np.random.default_rng(0).uniform(0, 100, SHAPE).astype(np.float32)


def stored(path, values, way, affine=None):
    """A file of values given right, anterior and superior, with axes of other directions."""
    image = nibabel.Nifti1Image(values, np.diag([*SIZES, 1.0]) if affine is None else affine)
    ras = orientations.axcodes2ornt("RAS")
    turn = orientations.ornt_transform(ras, orientations.axcodes2ornt(tuple(way)))
    nibabel.save(image.as_reoriented(turn), path)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == way
    return path


@pytest.mark.parametrize("way", ALL_WAYS)
def test_an_axis_is_one_direction_however_it_is_stored(tmp_path, anatomy, way):
    volume = load_volume(stored(tmp_path / "a.nii.gz", anatomy, way))
    np.testing.assert_array_equal(volume.values, anatomy)
    np.testing.assert_allclose(volume.affine, np.diag([*SIZES, 1.0]))
    assert volume.spacing == SIZES
    turned = nibabel.as_closest_canonical(nibabel.load(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(volume.values, turned.get_fdata(dtype=np.float32))


@pytest.mark.parametrize(
    ("image_way", "mask_way"), [("RAS", "LPS"), ("PIR", "RAS"), ("LPS", "ASR")]
)
def test_a_mask_of_other_directions_lies_on_its_lesion(tmp_path, anatomy, image_way, mask_way):
    marks = (anatomy > 90).astype(np.uint8)
    records = read_volume(
        stored(tmp_path / "a.nii.gz", anatomy, image_way),
        mask_path=stored(tmp_path / "m.nii.gz", marks, mask_way),
        window=(90, 90.001),
    )
    for record in records:
        np.testing.assert_array_equal(mask_of(record), pixels_of(record)[:, :, 0] > 0.5)
    assert sum(mask_of(record).sum() for record in records) == marks.sum()


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path, anatomy):
    path, affine = stored(tmp_path / "a.nii", anatomy, "RAS"), np.diag([*SIZES, 1.0])
    for name, change in (
        ("moved", np.array([[0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0.0]])),
        ("scaled", np.diag([0.5, 0, 0, 0])),
        ("turned", np.array([[0, 0.3, 0, 0], [-0.3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.0]])),
    ):
        mask = stored(tmp_path / f"{name}.nii", anatomy, "LPS", affine + change)
        with pytest.raises(
            ValueError, match=rf"lie where its volume lies, got .*{name}\.nii whose"
        ):
            read_volume(path, mask_path=mask)
    near = stored(tmp_path / "near.nii", anatomy, "RAS", affine + 1e-4 * np.eye(4, k=1))
    assert len(read_volume(path, mask_path=near)) == 4


def test_a_nifti_mask_of_a_dicom_series(tmp_path):
    pytest.importorskip("pydicom")
    lesion = np.zeros((4, 6, 3))
    lesion[1, 4, 2] = 1
    (tmp_path / "a").mkdir()
    for number in range(3):
        medical.write_dicom(tmp_path / "a" / f"{number}.dcm", lesion[:, :, number], 2.0 * number)
    # rows go to posterior and columns to the left, as DICOM's axes do
    across = lesion.transpose(1, 0, 2)
    medical.write_nifti(tmp_path / "m.nii", across.astype(np.uint8), np.diag([-1, -1, 2.0, 1]))
    records = read_volume(tmp_path / "a", mask_path=tmp_path / "m.nii")
    np.testing.assert_array_equal(np.stack([mask_of(r) for r in records], 2), lesion != 0)


@pytest.mark.parametrize(("axis", "size"), [(0, (8, 12)), (1, (6, 12)), (2, (6, 8))])
def test_pixels_are_square_and_so_are_those_of_the_mask(tmp_path, anatomy, axis, size):
    path = stored(tmp_path / "a.nii", anatomy, "LPS")
    marks = (anatomy > 90).astype(np.uint8)
    mask = stored(tmp_path / "m.nii", marks, "RAS")
    for record in read_volume(path, mask_path=mask, axis=axis):
        assert pixels_of(record).shape == (*size, 3)
        assert mask_of(record).shape == size
        expected = np.take(marks, record.source.index, axis=axis)
        assert mask_of(record).mean() == pytest.approx(expected.mean())


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_black_and_in_no_quantile(tmp_path, anatomy, strange):
    outside = np.zeros(SHAPE, bool)
    outside[:2] = True
    path = stored(tmp_path / "a.nii", np.where(outside, np.float32(strange), anatomy), "RAS")
    volume = load_volume(path)
    np.testing.assert_allclose(volume.window, np.quantile(anatomy[2:], [0.005, 0.995]), rtol=1e-6)
    for number, record in enumerate(read_volume(path, mask_path=path)):
        assert (pixels_of(record)[:2] == 0).all()
        assert np.isfinite(pixels_of(record)).all()
        if np.isnan(strange):
            np.testing.assert_array_equal(
                mask_of(record), anatomy[:, :, number] * ~outside[:, :, 0] > 0
            )
    nothing = stored(tmp_path / "b.nii", np.full(SHAPE, np.float32(np.nan)), "RAS")
    assert load_volume(nothing).window == (0.0, 1.0)


def test_axes_of_one_entry_are_dropped_and_others_refused(tmp_path, anatomy):
    for number, shape in enumerate([(*SHAPE, 1), (*SHAPE, 1, 1)]):
        path = medical.write_nifti(tmp_path / f"{number}.nii", anatomy.reshape(shape))
        np.testing.assert_array_equal(load_volume(path).values, anatomy)
    flat = medical.write_nifti(tmp_path / "flat.nii", anatomy[:, :, :1])
    assert load_volume(flat).values.shape == (6, 8, 1)
    for number, shape in enumerate([(6, 8, 2, 2), (6, 8, 1, 4), (48, 4)]):
        path = medical.write_nifti(tmp_path / f"no{number}.nii", anatomy.reshape(shape))
        with pytest.raises(ValueError, match=r"three axes, got .* choose one channel or time"):
            load_volume(path)


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_colours_stay_colours(tmp_path, channels):
    colours = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    values = np.zeros(SHAPE, [(name, "u1") for name in channels])
    for number, name in enumerate("RGB"):
        values[name] = colours[..., number]
    for record in read_volume(stored(tmp_path / "a.nii", values, "LPS"), window=(90, 91)):
        expected = colours[:, :, record.source.index] / 255
        np.testing.assert_allclose(pixels_of(record), expected, atol=1e-6)


def test_complex_numbers_are_refused(tmp_path, anatomy):
    path = medical.write_nifti(tmp_path / "a.nii", anatomy.astype(np.complex64))
    with pytest.raises(ValueError, match=r"got .*a\.nii \(complex numbers; save their magnitude\)"):
        load_volume(path)


@pytest.mark.parametrize("way", ["RAS", "LPS", "PIR", "ILP"])
def test_maps_go_back_in_the_geometry_of_the_file(tmp_path, anatomy, way):
    (tmp_path / "in").mkdir()
    path = stored(tmp_path / "in" / "scan.nii.gz", anatomy, way)
    maps = VolumeMaps(tmp_path / "maps", tmp_path / "in")
    for record in read_images(path)[:3]:  # the last slice could not be read, say
        maps.add(record, np.take(anatomy, record.source.index, axis=2))
    maps.finish()
    found, given = nibabel.load(tmp_path / "maps" / "scan.nii.gz"), nibabel.load(path)
    np.testing.assert_allclose(found.affine, given.affine, atol=1e-6)
    assert found.shape == given.shape
    expected = anatomy.copy()
    expected[:, :, 3] = np.nan
    back = nibabel.as_closest_canonical(found).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(back, expected)


def test_maps_of_several_volumes_and_of_other_axes(tmp_path, anatomy):
    for name in ("a", "b"):
        stored(tmp_path / f"{name}.nii", anatomy, "LPS")
    maps = VolumeMaps(tmp_path / "maps", tmp_path)
    for name in ("a", "b"):
        for record in read_volume(tmp_path / f"{name}.nii", axis=0):
            maps.add(record, np.full((8, 12), record.source.index, np.float32))
    maps.finish()
    found = nibabel.load(tmp_path / "maps" / "b.nii.gz")
    np.testing.assert_array_equal(found.get_fdata()[:, 0, 0], np.arange(6)[::-1])
    assert (tmp_path / "maps" / "a.nii.gz").is_file()
