"""From numbers to decisions: the detector, maps, image scores, thresholds, metrics, memory banks and pictures.

In the order of the data: `settings` (all of them, in groups), `config` (which values are refused, and what follows from
the others), `patches` (images to features), `parts` (which mixture and backend the settings name), `fitting` (features
to a mixture), `state` (what was learned), `detector` (all of it as one object), `scored` (patches to scores), `maps`
(patches to pixels and to one number per image), `calibration` (thresholds and p-values from normal images), `diagnosis`
(why), `evaluate` (figures for a test set) and `overlay` (pictures to look at).

In folders: `banks` (what detectors are compared with), `scores` (what a patch alone does not show, and several scores
as one), `stored` (model files), `line` (new images, images to forget, drift), `choosing` (settings by synthetic
anomalies), `products` (several in one model), `metrics` (how well numbers tell anomalous from normal, and how sure that
is) and `reporting` (a run's folder and page).

Each of the names (listed in `__init__.pyi`) is loaded when it is first used: the command line makes its options from
`settings` before JAX is there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
