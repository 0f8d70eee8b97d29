"""From a layer inside of a block through a further stage: there is no memory, and what was carried goes on linearly."""

from __future__ import annotations

from .._recursions.contract import outer, swap
from .functions import StageFunctions
from .maps import on_second_pair
from .memory import Chain
from .own import Own
from .state import Inside, State


def behind_stage(f: StageFunctions, t: State, own: Own) -> State:
    """The state behind a stage where nothing is remembered: PDLT's recursions, in coefficients of 1/n."""
    of_G, of_h, χ_34 = f.of_metric, f.omega_of_metric, f.chi
    ΩV, mixed = on_second_pair(of_h, t.V), χ_34 * of_h(t.D)
    return State(
        V=own.V + of_G(on_second_pair(of_G, t.V)),
        D=own.D + of_G(ΩV) + χ_34 * of_G(t.D),
        A=own.A + of_h(ΩV) + outer(f.chi, f.chi) * t.A + mixed + swap(mixed),
        F=own.F + f.slopes.on_both(t.F),
        B=own.B + outer(f.chi, f.chi) * t.B,
    )


def carry(f: StageFunctions, inside: Inside, own: Own) -> Inside:
    """What is carried with u, behind a further stage."""
    of_G, of_h, χ_34 = f.of_metric, f.omega_of_metric, f.chi
    return Inside(
        V=on_second_pair(of_G, inside.V),
        D=on_second_pair(of_h, inside.V) + χ_34 * inside.D,
        D_of_u=of_G(inside.D_of_u),
        A=swap(of_h(inside.D_of_u)) + χ_34 * inside.A,
        F=own.F + f.slopes.on_both(inside.F),
    )


def longer(chain: Chain, f: StageFunctions) -> Chain:
    """The chain of a block with this stage behind its last one."""
    return Chain(
        psi=f.of_metric.after(chain.psi),
        omega_psi=f.omega_of_metric.after(chain.psi).plus(chain.omega_psi.scaled(f.chi)),
        chi=f.chi * chain.chi,
        slopes=f.slopes.after(chain.slopes),
    )
