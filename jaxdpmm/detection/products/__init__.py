"""Several products in one model.

`detector` (a detector per product), `routing` (which product an image shows, or none of them), `figures` (per product,
and what was taken for what) and `file` (all of it in one file).
"""
