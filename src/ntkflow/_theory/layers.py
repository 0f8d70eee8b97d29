"""Layers as a user counts them: from 1 to L."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Layer = TypeVar("Layer")


class Layers(Generic[Layer]):
    """`x[1]` … `x[L]`, `x[-1]` the last."""

    layers: list[Layer]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, layer: int) -> Layer:
        if not (1 <= layer <= len(self) or -len(self) <= layer <= -1):
            raise IndexError(f"layers are 1 … {len(self)} (or negative, from the last), not {layer}")
        return self.layers[layer - 1 if layer > 0 else layer]
