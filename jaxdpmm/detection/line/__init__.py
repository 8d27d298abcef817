"""A detector on a running line, after its first fit.

`kept` (what each training image has added), `births` (components for patches of a new kind), `updating` (new images
without the old ones, and images that are forgotten) and `drift` (whether what comes in is still what was learned).
"""
