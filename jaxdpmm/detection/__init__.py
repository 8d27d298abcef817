"""From numbers to decisions: maps, image scores, metrics, the memory bank and pictures.

In the order of the data: `memory_bank` (the baseline's score of a patch, beside those of
`jaxdpmm.scoring`), `maps` (patches to pixels and to one number an image), `metrics` (how well the
numbers tell anomalous from normal) and `overlay` (pictures to look at).
"""
