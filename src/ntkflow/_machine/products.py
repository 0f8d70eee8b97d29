"""Matrix products in blocks so small that BLAS does not share them among threads, which wait long for each other where other processes run."""

import numpy as np

_SMALL = 2**18  # multiplications


def multiplied_in_blocks(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, of matrices."""
    rows, inner, columns = *a.shape, b.shape[1]
    block = max(_SMALL // max(inner * columns, 1), 1)
    whole = rows // block * block
    if block >= rows or not whole:
        return a @ b
    out = np.empty((rows, columns))
    np.matmul(a[:whole].reshape(-1, block, inner), b, out=out[:whole].reshape(-1, block, columns))
    out[whole:] = a[whole:] @ b
    return out
