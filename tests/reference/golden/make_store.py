"""Writes `store_version_1`: a finished feature store and one whose writer was killed, as files of format version 1.

    python tests/reference/golden/make_store.py FOLDER

What is kept in the repository was written before there was a journal or a digest in the index, and must stay readable:
write into another folder.
"""

import pathlib
import sys

import numpy as np

from jaxdpmm.features import FeatureWriter


def main(folder: pathlib.Path) -> None:
    """Five pieces of four points, of which the killed writer got to the third."""
    x = np.arange(60, dtype=np.float32).reshape(20, 3) / 8
    for name, num_pieces in (("finished", 5), ("killed", 3)):
        writer = FeatureWriter(folder / name, shard_bytes=60, settings={"layer": 8})
        for number in range(num_pieces):
            writer.append(x[4 * number : 4 * number + 4], f"image-{number}")
        if name == "finished":
            writer.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
