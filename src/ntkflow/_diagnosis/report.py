"""A diagnosis as one page of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._report.describe import evenly, network
from .._report.digits import number, uncertain
from .._report.page import aligned, inputs, wrapped

if TYPE_CHECKING:
    from .diagnose import Diagnosis

_MOST_ROWS = 7


def report(diagnosis: Diagnosis) -> str:
    """The verdict, what to do, and a table of some layers."""
    verdict = diagnosis.verdict
    heading = "TRAINABLE" if verdict.trainable else f"NOT TRAINABLE: {verdict.cause}"
    paragraphs = [heading, network(diagnosis.mlp), verdict.words]
    paragraphs += [f"What to do: {sentence}" for sentence in verdict.advice]
    paragraphs += verdict.remarks
    lines = [line for text in paragraphs for line in wrapped(text)]
    below = [line for text in notes(diagnosis) for line in wrapped(text)]
    return "\n".join([*lines, "", *aligned(table_rows(diagnosis, _MOST_ROWS)), "", *below])


def notes(diagnosis: Diagnosis) -> list[str]:
    """What stands below the table: distance from criticality, eigenvalues, and which inputs were looked at."""
    distance = diagnosis.verdict.distance
    return [*([distance] if distance else []), *_eigenvalue_lines(diagnosis), _sample_line(diagnosis)]


def table_rows(diagnosis: Diagnosis, most: int) -> list[tuple[str, ...]]:
    """The headings, and a row for each of at most so many layers, evenly spread."""
    m = diagnosis.measurements
    header = ("layer", "G", "1-rho", "chi_par", "chi_perp", "NTK share %", "of biases %", "sd over seeds %")
    rows: list[tuple[str, ...]] = [header]
    for ell in evenly(len(m.metric), most):
        rows.append(
            (
                str(ell + 1),
                number(m.metric[ell], ".3g"),
                number(m.apart[ell], ".2g"),
                number(m.chi_parallel[ell], ".4g"),
                number(m.chi_perpendicular[ell], ".4g"),
                number(100 * m.weight_share[ell], ".2g"),
                number(100 * m.bias_share[ell], ".2g"),
                uncertain(100 * m.ntk_std[ell], 100 * m.ntk_std_truncation[ell])
                if np.isfinite(m.ntk_std_truncation[ell])
                else number(100 * m.ntk_std[ell], ".3g"),
            )
        )
    return rows


def _eigenvalue_lines(diagnosis: Diagnosis) -> list[str]:
    m = diagnosis.measurements
    if m.overflow is not None:
        return []
    least, largest = m.eigenvalues[[0, -1]]
    N = len(m.eigenvalues)
    line = f"Mean NTK of the output on {inputs(N, N)}: eigenvalues {_scientific(least, largest)} to {largest:.3g}"
    lines = [f"{line}; contrast {number(m.contrast, '.2g')}."]
    if np.any(np.isfinite(m.eigenvalue_std)) and N > 1:
        parts = []
        for name, value, shift, spread in zip(
            ("least", "largest"), m.extreme_eigenvalues, m.eigenvalue_shift, m.eigenvalue_std, strict=True
        ):
            if np.isfinite(spread):
                size = (
                    f"sd over seeds {spread:.0%}" if spread < 1 else "varies over seeds by more than itself"
                )
                parts.append(f"{name} {value:.3g} (1/n shift {shift:+.1%}, {size})")
        lines.append(f"On {len(m.fluctuating)} of them: {', '.join(parts)}.")
    return lines


def _scientific(least: float, largest: float) -> str:
    """The least eigenvalue, or that it is lost in rounding."""
    return f"{least:.3g}" if least > 1e-13 * largest else "0 (to rounding)"


def _sample_line(diagnosis: Diagnosis) -> str:
    m = diagnosis.measurements
    of = inputs(diagnosis.inputs, len(m.samples))
    errors = "28(2) is 28 +- 2" if np.isfinite(m.ntk_std_truncation).any() else "to leading order in 1/width"
    return f"From {of}; G, rho: means over them; sd: of one neuron's NTK of one input, on {len(m.fluctuating)}; {errors}."
