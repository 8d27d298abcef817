"""Medical files to volumes.

In the order to read them:

    intensities   what a volume is, whatever file it comes from, and how its intensities become grey
    nifti         NIfTI in the directions of its affine, and maps back in those of the file
    dicom         what the stored values of one DICOM file mean
    dicom_series  which files and frames make a volume together

Rules of the formats are pydicom's and nibabel's, imported on first use (extra `medical`). Slices as images are made
in `../volumes.py`.
"""
