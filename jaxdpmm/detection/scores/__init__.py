"""What a patch alone does not show, and several scores as one.

`context` (whether a patch belongs among those around it), `matching` (what is missing from its place), `histograms`
(what an image has too much of), `known` (likeness to anomalies that are known), `prevalence` (kinds that unlabelled
images have and normal ones do not), `discrepancy` (two mixtures from one prior), `joint` (all scores that the settings
name as one function of images) and `fused` (the same of images that are scored already).
"""
