"""DICOM and NIfTI files for tests, as small as they can be."""

import numpy as np

CT = "1.2.840.10008.5.1.4.1.1.2"


def write_nifti(path, values, affine=None):
    """A NIfTI file; its axes point right, anterior and superior by default."""
    import nibabel

    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def dicom_dataset(values, position=0.0, **fields):
    """A data set of CT with the stored values, (rows, columns) or (frames, rows, columns); fields are set over it."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[-2:]
    if values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.ImagePositionPatient = [0, 0, position]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = values.astype(np.uint16).tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def write_dicom(path, values, position=0.0, **fields):
    """The file of `dicom_dataset`."""
    dicom_dataset(values, position, **fields).save_as(path, enforce_file_format=True)
    return path


def colour_fields(colours, interpretation="RGB"):
    """Fields of a picture of bytes in colours, (rows, columns, 3)."""
    return {
        "Rows": colours.shape[0],
        "Columns": colours.shape[1],
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "PhotometricInterpretation": interpretation,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": colours.astype(np.uint8).tobytes(),
    }


def item(**fields):
    """A data set to stand in a sequence."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset
