"""The parts of `../gpu.py`: what is measured (one file per topic), and how a run survives what goes wrong.

`plan.py` lists the records and their sizes, `driver.py` runs them in a worker process (`worker.py`) that it can end,
`report.py` keeps the file, `cases.py` is the clock. Read `plan.py` first.
"""
