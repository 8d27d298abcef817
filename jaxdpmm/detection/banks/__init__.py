"""What a mixture is measured against: rows of normal patches and the distance to the nearest of them.

`exact` searches all rows, `sharded` cuts them over many devices, `coreset` leaves most of them out, `faiss_bank` has
faiss search them, `cascade` compares the few patches that a mixture finds suspicious with rows on disk.
"""

from jaxdpmm.detection.banks.cascade import CascadeBank, cascade_bank, write_cascade
from jaxdpmm.detection.banks.coreset import greedy_coreset, k_means_rows
from jaxdpmm.detection.banks.exact import Bank, memory_bank
from jaxdpmm.detection.banks.faiss_bank import FaissBank, faiss_bank
from jaxdpmm.detection.banks.sharded import sharded_memory_bank

__all__ = [
    "Bank",
    "CascadeBank",
    "FaissBank",
    "cascade_bank",
    "faiss_bank",
    "greedy_coreset",
    "k_means_rows",
    "memory_bank",
    "sharded_memory_bank",
    "write_cascade",
]
