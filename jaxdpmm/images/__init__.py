"""From disk to arrays: which images there are, how they are read, resized and streamed.

In the order of the data: `records` (what an image of a data set is), `listing` and `layouts` with
a file for each layout (finding them on disk; `refusals` refuses the others), `arrays` and `volumes` (images that are no
files: NumPy, slices of DICOM and NIfTI), `reading` (one file to one array), `geometry` and
`transforms` (to the size the backbone takes, and back), `rotation` (more angles to learn from),
`streaming` (many images, read ahead). Nothing here knows of the model. Pillow is imported by this
package and, on first use, by `jaxdpmm.detection.overlay`; `records` and `geometry` do without it.
"""
