"""Dirichlet process mixtures in JAX that learn what is normal from patch features and find what is not.

A map of the package, in the order of the data:

    images      from disk to arrays
    features    from arrays to patch features (DINOv2 and DINOv3 in Flax)
    precision   how exactly float32 is multiplied on GPUs and TPUs
    families    what one component looks like
    sticks      how many components there are and how large
    model       the mixture: posterior = prior + sum of sufficient statistics
    inference   how it is fitted
    scoring     from a posterior to a number per patch
    detection   from numbers to decisions
    pictures    what a mixture and its scores look like
    storage     what lies on disks: whole files, locks, checks of what others wrote
    sklearn     the mixture as an estimator of scikit-learn

Models are saved and loaded by `persist`, scorers are exported by `export`, `separation` says how compact and how far
apart components are, and `summaries` what many draws of the posterior have in common. `testing` checks families,
priors, backends and scorers of one's own.

The names of this module (listed in `__init__.pyi`) are the modelling library: every family, every prior of the weights,
every backend, and what they are used with. Each is loaded when it is first used, so that the command line can heed
Ctrl-C before JAX is there. None loads Flax, NumPyro or an image library; `images`, `features`, `detection`, `sklearn`
and `inference.numpyro` are imported by name.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
