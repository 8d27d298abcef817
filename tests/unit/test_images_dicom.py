"""What stored values of DICOM mean, against pydicom's own answers on files made here and on those that it brings."""

from pathlib import Path

import medical
import numpy as np
import pytest

from jaxdpmm.images.reading import pixels_of
from jaxdpmm.images.volumes import load_volume, read_volume, read_volumes

pydicom = pytest.importorskip("pydicom")
OWN_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def test_colours_stay_colours(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3))
    values = np.zeros((6, 8))
    path = medical.write_dicom(tmp_path / "rgb.dcm", values, **medical.colour_fields(colours))
    (record,) = read_volume(path, window=(0, 1000))  # of grey alone
    np.testing.assert_allclose(pixels_of(record), colours / 255, atol=1e-6)
    fields = {**medical.colour_fields(colours), "PlanarConfiguration": 1}
    fields["PixelData"] = np.moveaxis(colours, 2, 0).astype(np.uint8).tobytes()
    planar = medical.write_dicom(tmp_path / "planar.dcm", values, **fields)
    np.testing.assert_array_equal(load_volume(planar).values, load_volume(path).values)
    fields = {**medical.colour_fields(np.stack([colours] * 3)), "NumberOfFrames": 3}
    fields |= {"Rows": 6, "Columns": 8}
    cine = read_volume(medical.write_dicom(tmp_path / "cine.dcm", values, **fields))
    assert len(cine) == 3
    np.testing.assert_allclose(pixels_of(cine[2]), colours / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "interpretation"),
    [
        ("SC_ybr_full_422_uncompressed.dcm", "YBR_FULL_422"),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "YBR_FULL_422"),
        ("SC_rgb_rle_16bit_2frame.dcm", "RGB"),
        ("SC_rgb_small_odd_big_endian.dcm", "RGB"),
    ],
)
def test_colour_files_of_pydicom(name, interpretation):
    dataset = pydicom.dcmread(OWN_FILES / name)
    assert dataset.PhotometricInterpretation == interpretation
    colours = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns, 3)
    records = read_volume(OWN_FILES / name)
    found = np.stack([pixels_of(record) for record in records])
    np.testing.assert_allclose(found, colours / (2.0**dataset.BitsStored - 1), atol=1e-6)


def test_a_palette_is_looked_up(tmp_path):
    index = np.arange(12).reshape(3, 4) % 3
    fields = {"PhotometricInterpretation": "PALETTE COLOR", "BitsAllocated": 8, "BitsStored": 8}
    fields |= {"HighBit": 7, "PixelData": index.astype(np.uint8).tobytes()}
    table = np.array([[65535, 0, 32768], [0, 65535, 0], [1000, 2000, 65535]], np.uint16)
    for colour, column in zip(("Red", "Green", "Blue"), table.T, strict=True):
        fields[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        fields[f"{colour}PaletteColorLookupTableData"] = column.tobytes()
    (record,) = read_volume(medical.write_dicom(tmp_path / "palette.dcm", index, **fields))
    np.testing.assert_allclose(pixels_of(record), table[index] / 65535, atol=1e-6)
    path = OWN_FILES / "examples_palette.dcm"
    dataset = pydicom.dcmread(path)
    colours = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    scale = np.iinfo(colours.dtype).max
    np.testing.assert_allclose(pixels_of(read_volume(path)[0]), colours / scale, atol=1e-6)


def test_a_colour_space_that_is_not_known_is_refused(tmp_path):
    fields = medical.colour_fields(np.zeros((4, 4, 3)), "HSV")
    path = medical.write_dicom(tmp_path / "hsv.dcm", np.zeros((4, 4)), **fields)
    with pytest.raises(ValueError, match=r"whole NIfTI or DICOM volume, got .*hsv\.dcm"):
        read_volume(path)


def enhanced(shared, own, frames):
    return {
        "RescaleSlope": None,
        "RescaleIntercept": None,
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
        "SharedFunctionalGroupsSequence": [medical.item(**shared)],
        "PerFrameFunctionalGroupsSequence": [medical.item(**groups) for groups in own],
        "NumberOfFrames": frames,
    }


def rescale(slope, intercept):
    return [medical.item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")]


def window(centre, width):
    return [medical.item(WindowCenter=centre, WindowWidth=width)]


def test_functional_groups_shared_by_all_frames(tmp_path):
    values = np.stack([np.full((4, 5), 1064), np.zeros((4, 5))])
    shared = {
        "PixelValueTransformationSequence": rescale(1, -1024),
        "FrameVOILUTSequence": window(40, 400),
    }
    path = medical.write_dicom(tmp_path / "ct.dcm", values, **enhanced(shared, [{}, {}], 2))
    volume = load_volume(path)
    np.testing.assert_array_equal(volume.values[0, 0], [40, -1024])
    assert volume.window == (-160.0, 240.0)
    assert [pixels_of(r).max() for r in read_volume(path, window=(-160, 240))] == [0.5, 0.0]


def test_functional_groups_of_a_frame_win_and_place_it(tmp_path):
    values = np.stack([np.full((4, 5), number) for number in (10, 20, 30)])
    plane = [medical.item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared = {
        "PixelValueTransformationSequence": rescale(1, -1024),
        "PlaneOrientationSequence": plane,
        "PixelMeasuresSequence": [medical.item(PixelSpacing=[0.5, 0.25])],
    }
    own = [
        {
            "PixelValueTransformationSequence": rescale(slope, 0),
            "PlanePositionSequence": [medical.item(ImagePositionPatient=[0, 0, height])],
            "FrameVOILUTSequence": window(centre, 100),
        }
        for slope, height, centre in ((1, 4, 50), (2, 0, 60), (3, 2, 70))
    ]
    volume = load_volume(
        medical.write_dicom(tmp_path / "mr.dcm", values, **enhanced(shared, own, 3))
    )
    np.testing.assert_array_equal(volume.values[0, 0], [40, 90, 10])  # by height, 0, 2 and 4 mm
    assert volume.spacing == (0.5, 0.25, 2.0)
    assert volume.window == (10.0, 110.0)


def test_a_modality_table_is_looked_up(tmp_path):
    values = np.arange(12).reshape(3, 4)
    table = (1000 - 7 * np.arange(8)).astype("<u2").tobytes()
    lut = medical.item(LUTDescriptor=[8, 2, 16], LUTData=table, ModalityLUTType="HU")
    fields = {"RescaleSlope": None, "RescaleIntercept": None, "ModalityLUTSequence": [lut]}
    path = medical.write_dicom(tmp_path / "a.dcm", values, **fields)
    dataset = pydicom.dcmread(path)
    expected = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(load_volume(path).values[:, :, 0], expected)
    assert expected[0, 0] == expected[0, 2] == 1000
    assert expected[2, 3] == 951


@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_white_and_black_change_places_after_the_window(tmp_path, interpretation):
    values = np.arange(0, 4096, 256).reshape(4, 4)
    fields = {"PhotometricInterpretation": interpretation, "BitsStored": 12, "HighBit": 11}
    fields |= {"WindowCenter": [1000, 5], "WindowWidth": [1000, 9], "RescaleIntercept": 0}
    path = medical.write_dicom(tmp_path / "a.dcm", values, **fields)
    assert load_volume(path).window == (500.0, 1500.0)
    dataset = pydicom.dcmread(path)
    shown = pydicom.pixels.apply_voi_lut(dataset.pixel_array, dataset) / 4095
    expected = 1 - shown if interpretation == "MONOCHROME1" else shown
    for given in (None, (500, 1500)):
        found = pixels_of(read_volume(path, window=given)[0])[:, :, 0]
        np.testing.assert_allclose(
            found, expected, atol=1e-3
        )  # LINEAR ends one unit of 1,000 earlier
        np.testing.assert_allclose(found.max(), 1)


@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("how", ["table", "sigmoid"])
def test_tables_and_sigmoids_of_intensities(tmp_path, interpretation, how):
    values = np.arange(0, 4096, 256).reshape(4, 4)
    fields = {"PhotometricInterpretation": interpretation, "BitsStored": 12, "HighBit": 11}
    fields |= {"WindowCenter": 1000, "WindowWidth": 1000, "RescaleIntercept": -100}
    if how == "table":
        table = (np.arange(2048) ** 2 // 1024).astype("<u2").tobytes()
        fields["VOILUTSequence"] = [medical.item(LUTDescriptor=[2048, 100, 12], LUTData=table)]
    else:
        fields["VOILUTFunction"] = "SIGMOID"
    path = medical.write_dicom(tmp_path / "a.dcm", values, **fields)
    dataset = pydicom.dcmread(path)
    units = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    if how == "table":
        shown = pydicom.pixels.apply_voi_lut(units.astype(int), dataset) / 4095
    else:
        shown = (pydicom.pixels.apply_voi_lut(units, dataset) + 100) / 4095
    expected = 1 - shown if interpretation == "MONOCHROME1" else shown
    found = pixels_of(read_volume(path)[0])[:, :, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.std() > 0.1
    given = pixels_of(read_volume(path, window=(0, 2000))[0])[:, :, 0]
    assert np.abs(given - found).max() > 0.01  # a window that is given wins


def test_tags_that_are_left_empty(tmp_path):
    values = np.arange(12).reshape(3, 4)
    for name, fields in (
        ("both", {"RescaleSlope": "", "RescaleIntercept": ""}),
        ("slope", {"RescaleSlope": "", "RescaleIntercept": 0}),
        ("window", {"RescaleIntercept": 0, "WindowCenter": "", "WindowWidth": ""}),
        ("frames", {"RescaleIntercept": 0, "InstanceNumber": ""}),
        ("intercept", {"RescaleIntercept": None}),
    ):
        volume = load_volume(medical.write_dicom(tmp_path / f"{name}.dcm", values, **fields))
        np.testing.assert_array_equal(volume.values[:, :, 0], values)
        np.testing.assert_allclose(volume.window, np.quantile(values, [0.005, 0.995]))


@pytest.mark.parametrize(("width", "function"), [(0, "LINEAR"), (-20, "LINEAR"), (0, "SIGMOID")])
def test_a_window_without_width_is_not_used(tmp_path, width, function):
    values = np.arange(12).reshape(3, 4)
    fields = {"WindowCenter": 10, "WindowWidth": width, "VOILUTFunction": function}
    path = medical.write_dicom(tmp_path / "a.dcm", values, RescaleIntercept=0, **fields)
    with pytest.warns(UserWarning, match="WindowWidth must be at least 1, got"):
        volume = load_volume(path)
    np.testing.assert_allclose(volume.window, np.quantile(values, [0.005, 0.995]))
    assert np.isfinite(pixels_of(read_volume(path)[0])).all()


@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_black_and_in_no_quantile(tmp_path, interpretation):
    values = np.array([[63536, 63540, 100], [200, 300, 400]])
    fields = {"PhotometricInterpretation": interpretation, "PixelPaddingValue": 63536}
    fields |= {"PixelPaddingRangeLimit": 63540, "RescaleIntercept": 0}
    path = medical.write_dicom(tmp_path / "a.dcm", values, **fields)
    volume = load_volume(path)
    np.testing.assert_allclose(volume.window, np.quantile([100, 200, 300, 400], [0.005, 0.995]))
    pixels = pixels_of(read_volume(path)[0])[:, :, 0]
    assert pixels[0, 0] == pixels[0, 1] == 0
    assert (pixels[1, 2] > pixels[1, 0]) == (interpretation == "MONOCHROME2")
    fields["PixelPaddingValue"] = 0  # all of it
    volume = load_volume(medical.write_dicom(tmp_path / "b.dcm", values * 0, **fields))
    assert volume.window == (0.0, 1.0)


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        *("MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm"),
    ],
)
def test_compressed_files_of_pydicom(name):
    plain = "MR_small.dcm" if "MR_small" in name else name
    dataset = pydicom.dcmread(OWN_FILES / plain)
    expected = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(load_volume(OWN_FILES / name).values[:, :, 0], expected)


def test_the_frames_of_a_damaged_file_are_one_record(tmp_path):
    content = medical.write_dicom(tmp_path / "a.dcm", np.zeros((3, 8, 8))).read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[:-200])
    (record,) = read_volumes(tmp_path / "a.dcm")
    with pytest.raises(ValueError, match=r"whole NIfTI or DICOM volume, got .*a\.dcm"):
        pixels_of(record)
