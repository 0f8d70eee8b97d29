"""From a layer inside of a block through a further stage: there is no memory, and what was carried goes on linearly."""

from __future__ import annotations

from .._recursions.contract import outer, swap
from .functions import StageFunctions
from .maps import on_second_pair
from .memory import Chain
from .own import Own
from .state import Inside, State


def carry(f: StageFunctions, u: State, inside: Inside, own: Own) -> tuple[State, Inside]:
    """The state of the next u, and what is carried with it."""
    of_G, of_h, χ_34 = f.of_metric, f.omega_of_metric, f.chi
    ΩV, mixed = on_second_pair(of_h, u.V), χ_34 * of_h(u.D)
    state = State(
        V=own.V + of_G(on_second_pair(of_G, u.V)),
        D=own.D + of_G(ΩV) + χ_34 * of_G(u.D),
        A=own.A + of_h(ΩV) + outer(f.chi, f.chi) * u.A + mixed + swap(mixed),
        F=own.F + f.slopes.on_both(u.F),
        B=own.B + outer(f.chi, f.chi) * u.B,
    )
    return state, Inside(
        V=on_second_pair(of_G, inside.V),
        D=on_second_pair(of_h, inside.V) + χ_34 * inside.D,
        D_of_u=of_G(inside.D_of_u),
        A=swap(of_h(inside.D_of_u)) + χ_34 * inside.A,
        F=own.F + f.slopes.on_both(inside.F),
        B=own.B + outer(f.chi, f.chi) * inside.B,
    )


def longer(chain: Chain, f: StageFunctions) -> Chain:
    """The chain of a block with this stage behind its last one."""
    return Chain(
        psi=f.of_metric.after(chain.psi),
        omega_psi=f.omega_of_metric.after(chain.psi).plus(chain.omega_psi.scaled(f.chi)),
        chi=f.chi * chain.chi,
        slopes=f.slopes.after(chain.slopes),
    )
