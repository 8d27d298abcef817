"""From disk to arrays: which images there are, how they are read, resized and streamed.

In the order of the data:

    records               what an image of a data set is
    names, listing        what names say, and what lies in a folder; every rule about suffixes and hidden files
    masks, mask_checks    which mask is of which image, and whether masks fit
    layouts, data_sets/   records of a folder, plain or in a known layout
    refusals              what is not learned from, with what to do instead
    decoding, reading     one file to the numbers in it, and to RGB in [0, 1]
    arrays                NumPy arrays as images
    feature_files, feature_facts    features that were made elsewhere in place of images
    feature_arrays                  their arrays in `.npy`, `.npz` and `.zarr`
    volumes, medical/     slices of DICOM and NIfTI as images
    depth                 one range for images of 16 bits
    geometry, transforms  to the size that the backbone takes, and back
    rotation              more angles to learn from
    streaming, remarks    many images, read ahead; what there is to say of them

Nothing here knows of the model. Pillow is imported by this package and, on first use, by `jaxdpmm.detection.overlay`;
`records` and `geometry` do without it.
"""
