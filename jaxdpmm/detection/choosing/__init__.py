"""Settings chosen without any real anomaly.

`synthetic` (anomalies of features; those of pixels are in `../../images/transplants.py`), `trials` (one fit and its
figures per setting) and `choose` (which of them to take, and why).
"""
