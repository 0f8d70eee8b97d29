"""Writes the table of docs/criticality.md: `critical` of every activation of torch.nn, or why there is none.

python benchmarks/torch_activations.py            # write it
python benchmarks/torch_activations.py --check    # exit status 1 if it is another
"""

import dataclasses

import pages
import torch
from torch import nn
from torch.nn.modules import activation as activations

import ntkflow
from ntkflow.activations import Activation
from ntkflow.errors import InteropError
from ntkflow.tuning import Criticality

# Where there are no default arguments, or others change the row.
ARGUMENTS: dict[str, list[tuple]] = {
    "GELU": [(), ("tanh",)],
    "LeakyReLU": [(), (0.2,)],
    "LogSoftmax": [(1,)],
    "MultiheadAttention": [(8, 2)],
    "Softmax": [(1,)],
    "Softmin": [(1,)],
    "Threshold": [(0.1, 20)],
}
REMARKS = {"PReLU": "at its initial slope, 1/4", "RReLU": "in eval mode: its slope is 11/48"}
HEAD = ("module", "kind", "C_W", "C_b", "K*", "K flows there from", "p_0", "p_⊥", "remarks")
KINDS = ("scale-invariant", "K*=0", "half-stable", "none", "jumps", "not elementwise")


def torch_activations() -> str:
    """A row for each module, by kinds; below one without a critical point that of σ - σ(0)."""
    rows = []
    for name in activations.__all__:
        for arguments in ARGUMENTS.get(name, [()]):
            module = getattr(nn, name)(*arguments).eval()
            rows.append(_rows(module, f"{name}({', '.join(map(repr, arguments))})", REMARKS.get(name, "")))
    rows.sort(key=lambda rows_of_module: KINDS.index(rows_of_module[0][1]))
    return pages.table(HEAD, (row for rows_of_module in rows for row in rows_of_module))


def _rows(module: nn.Module, name: str, remark: str) -> list[tuple[str, ...]]:
    try:
        criticality = ntkflow.critical(module)
    except InteropError as error:
        words = str(error).partition(": ")[2].partition("; supported are")[0]
        return [_row(name, "jumps" if "jumps" in words else "not elementwise", words)]
    rows = [_row_of(name, criticality, remark)]
    at_zero = module(torch.zeros((), dtype=torch.float64)).item() if criticality.kind == "none" else 0.0
    if at_zero:
        shifted = ntkflow.critical(_shifted(criticality.activation, at_zero))
        rows.append(_row_of(f"{name} {'-' if at_zero > 0 else '+'} {abs(at_zero):.10g}", shifted, remark))
    return rows


def _shifted(sigma: Activation, at_zero: float) -> Activation:
    return dataclasses.replace(
        sigma, function=lambda z: sigma.function(z) - at_zero, parameters=(), registered=False
    )


def _row_of(name: str, criticality: Criticality, remark: str) -> tuple[str, ...]:
    point, exponents = criticality.point, criticality.exponents
    if exponents is None:
        reason = point.reason.replace("chi_parallel", "χ_∥").replace("chi_perpendicular", "χ_⊥")
        return _row(name, point.kind, reason)
    remarks = [remark] if remark else []
    if point.interval:
        low, high = point.interval
        remarks.append(f"any K* from {low:.2g} to {high:.0e} has a C_W and C_b of its own")
    if point.others:
        remarks.append(f"further K* = {', '.join(f'{K:.6g}' for K in point.others)}")
    for fixed_point in point.other_fixed_points:
        remarks.append(f"K = {fixed_point.K:.6g} {'attracts' if fixed_point.attracts else 'repels'}")
    if point.c is not None:
        remarks.append(f"c = {point.c:.2e}")
    if not exponents.settled:
        remarks.append(
            f"no power of depth: p_0 and p_⊥ are {exponents.p_0:.2f} and {exponents.p_perp:.2f} at depth 2048, and fall"
        )
    numbers = (point.C_W, point.C_b, point.K_star)
    C_W, C_b, K_star = ("any" if x is None else f"{x:.10g}" for x in numbers)
    powers = ("", "")
    if exponents.settled:
        powers = tuple(f"{p:.2f}" if p else "0" for p in (exponents.p_0, exponents.p_perp))
    return _row(name, point.kind, "; ".join(remarks), C_W, C_b, K_star, point.attracted or "", *powers)


def _row(name: str, kind: str, remarks: str, *numbers: str) -> tuple[str, ...]:
    """A row below HEAD; without numbers these columns are empty."""
    return (f"`{name}`", kind, *(numbers or ("",) * 6), remarks)


if __name__ == "__main__":
    pages.main([pages.ROOT / "docs" / "criticality.md"], {"torch_activations": torch_activations})
