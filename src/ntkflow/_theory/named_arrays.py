"""The arrays of a layer as attributes, for what holds them by name: editors and type checkers know them."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar, overload

Array = TypeVar("Array")


class _Named(Generic[Array]):
    """An array under the name of the attribute."""

    def __init__(self, doc: str):
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, layer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, layer: NamedArrays[Array], owner: type) -> Array: ...
    def __get__(self, layer: Any, owner: type) -> Any:
        return self if layer is None else layer[self._name]


class NamedArrays(Generic[Array]):
    """`layer.V` is `layer["V"]`; other tensors that are declared have the second form alone."""

    G: _Named[Array] = _Named("The leading kernel E[z_α z_β], (N, N), PDLT (8.22).")
    H: _Named[Array] = _Named("The leading mean NTK of one neuron, (N, N), PDLT (8.63).")
    G1: _Named[Array] = _Named("The 1/n correction of the kernel, E[z_α z_β] = G + G1 / n_{ℓ-1}: (N, N).")
    H1: _Named[Array] = _Named("The 1/n correction of the mean NTK, E[Ĥ_{ii;αβ}] = H + H1 / n_{ℓ-1}: (N, N).")
    V: _Named[Array] = _Named("The four-point vertex of the preactivations V_(12)(34), PDLT chapter 4.")
    D: _Named[Array] = _Named("The cross-correlation D_1234 of the metric with the NTK, PDLT (8.77).")
    F: _Named[Array] = _Named("The cross-correlation F_1324 of two preactivations with the NTK, PDLT (8.79).")
    A: _Named[Array] = _Named("The variance A_(12)(34) of the NTK, PDLT (8.97).")
    B: _Named[Array] = _Named("The variance B_1324 of the NTK, PDLT (8.89).")
    K: _Named[Array] = _Named("K_123 of E[z_{i;1} z_{j;2} z_{j;3}], in networks of blocks.")
    L: _Named[Array] = _Named("L_123 of E[z_{i;1} ΔĤ_{jj;23}], in networks of blocks.")
    M: _Named[Array] = _Named("M_123 of E[z_{i;1} ΔĤ_{ij;23}], in networks of blocks.")
    P: _Named[Array] = _Named(
        "P_0123 of E[dĤ_012 z_3], the NTK's first derivative with a preactivation; with training=True."
    )
    Q: _Named[Array] = _Named("Q_0123 of E[dĤ_012 z_3]; with training=True.")
    R: _Named[Array] = _Named(
        "R_0123 of E[ddĤ_I], a second derivative of the NTK; with training=True, smooth activations."
    )
    S: _Named[Array] = _Named(
        "S_1234 of E[ddĤ_II], a second derivative of the NTK; with training=True, smooth activations."
    )
    T: _Named[Array] = _Named("T_1324 of E[ddĤ_II]; with training=True, smooth activations.")
    U: _Named[Array] = _Named("U_1423 of E[ddĤ_II]; with training=True, smooth activations.")

    def __getitem__(self, name: str) -> Array:
        raise NotImplementedError
