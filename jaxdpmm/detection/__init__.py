"""From numbers to decisions: the detector, maps, image scores, thresholds, metrics, memory banks and pictures.

In the order of the data: `settings` (all of them, in groups), `config` (which values are refused, and what follows from
the others), `patches` (images to features), `parts` (which mixture and backend the settings name), `fitting` (features
to a mixture), `state` (what was learned) and `stored` (its file), `detector` (all of it as one object), `scored`
(patches to scores; `banks` beside `jaxdpmm.scoring`), `context`, `matching` and `histograms` (what patches do not show
alone: whether they belong where they are, what is missing, what there is too much of), `fused` (several scores as one),
`maps` (patches to pixels and to one number per image), `calibration` (thresholds and p-values from normal images),
`diagnosis` (why), `metrics` (how well the numbers tell anomalous from normal, and how sure that is), `evaluate` (all of
these for a test set), `overlay` (pictures to look at), `reporting` (a run's folder and page), and `products` with
`routing` (a detector for each of several products, and which of them an image shows).

Each of the names (listed in `__init__.pyi`) is loaded when it is first used: the command line makes its options from
`settings` before JAX is there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
