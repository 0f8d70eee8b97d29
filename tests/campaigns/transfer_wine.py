"""The campaign `transfer` on a third data set, wine, chosen after `tune` and its numbers were frozen; reported whatever comes out.

Wine is small and unlike the others: 178 samples, of which 100 are for training, in three classes; 13 chemical measurements, each scaled to one sd.
"""

from __future__ import annotations

import numpy as np
import transfer
from sklearn.datasets import load_wine

CASES = [case for case in transfer.cases(("wine",)) if case[3] < 256]
PARTS = len(CASES)


def part(number: int) -> dict:
    """One network."""
    X, y = map(np.asarray, load_wine(return_X_y=True))
    return transfer.measured(CASES[number], transfer.split(X / X.std(axis=0), y, 100, 30))


def total(parts: list[dict]) -> dict:
    """As of `transfer`."""
    return transfer.total(parts)


def holds(found: dict) -> bool:
    """Always: it is a report."""
    return found["cases"] == PARTS
