"""Writes the figures of the pages in docs/ from `results`.

python benchmarks/figures.py            # write them
python benchmarks/figures.py --check    # exit status 1 if they are others
"""

import re

import pages
import records
from flow_times import CASES, LARGE
from means import ACCURACY as NUMERICAL_ACCURACY
from means import ANALYTIC, FEWER, NUMERICAL


def first_result() -> str:
    """A row for each command, and the machine below."""
    cases = records.load("first_result")
    rows = [
        (
            f"`ntkflow flow`, {name.split(', ', 1)[1]}" if "," in name else f"`{name}`",
            _seconds(case["seconds"]),
        )
        for name, case in cases.items()
    ]
    return _table(("eight digits, depth 4, each in a fresh process", ""), rows, cases, "medians")


def flow_times() -> str:
    """A row for each network and number of inputs."""
    known = records.load("flow_times")
    cases = {name: known[name] for name in (*CASES, *LARGE) if name in known}
    rows = [
        (
            re.sub(r"N=(\d+) (\w+) (\w+) depth", r"N = \1, \2, \3, depth", name),
            _seconds(case["first"]),
            "" if case["later"] is None else _seconds(case["later"]),
            f"{case['peak']:.1f} GiB",
        )
        for name, case in cases.items()
    ]
    return _table(
        ("inputs, components, activation", "first call", "later calls", "peak memory"),
        rows,
        cases,
        "later calls are medians",
    )


def finite_ntk() -> str:
    """The NTK of one network beside the fastest methods of other libraries."""
    case = records.load("ntk_peers")["a"]
    later = {name: times["later"] for name, times in case["methods"].items()}
    ours = later.pop("ours")
    nt, torch = (
        _rounded(ours / min(time for name, time in later.items() if name.startswith(library)))
        for library in ("neural-tangents", "torch.func")
    )
    return (
        f"{_rounded(1e3 * ours)} ms in float64\n({_on(case)}), {nt} of what neural-tangents' fastest method takes and "
        f"{torch} of\nthe Jacobian contraction by torch.func"
    )


def output_ntk() -> str:
    """Networks a second, and beside the best peer."""
    case = records.load("ensembles")["throughput"]
    rate = case["float64"]["networks_a_second"]["ours, output_ntk"]
    ratios = " and ".join(f"{_rounded(case[t]['ratio'])} times in {t}" for t in ("float64", "float32"))
    return (
        f"{_rounded(rate)} networks a second ({_on(case)})\nfor N = 8, n = 128 and depth 4: {ratios} that of"
    )


def fewer_draws() -> str:
    """How many times fewer draws the low-noise estimators need."""
    return _rounded(records.load("ensembles")["estimators"]["fewer_draws"])


def joint_sampler() -> str:
    """Draws from the joint distribution beside drawing networks."""
    cases = records.load("joint_sampler")
    times = cases["networks, vmap of finite"]["by_sampler"]
    return (
        f"{_seconds(cases['sampler']['seconds'])} ({_on(cases['sampler'])}), for\nfour digits, width 128 and depth 4; "
        f"drawing as many networks takes {_rounded(times)} times as long"
    )


def trained_ensemble() -> str:
    """Predictions of the trained ensemble beside neural-tangents'."""
    cases = records.load("trained_peers")
    ours = cases["relu, N = 2000"]
    ratios = sorted({_rounded(case["ratio"]) for case in cases.values()})
    return (
        f"{_seconds(ours['later_s']['ours'])} for\n2,000 MNIST images, 100 test images and three times ({_on(ours)}):\n{ratios[0]} to {ratios[-1]} of what "
        "neural-tangents' `gradient_descent_mse_ensemble` takes"
    )


def mean_kernels() -> str:
    """Closed forms at infinite width beside neural-tangents' analytic kernels."""
    cases = {name: case for name, case in records.load("means").items() if name.split(",")[0] in ANALYTIC}
    ratios = sorted(case["ratio"] for case in cases.values())
    (where,) = {_on(case) for case in cases.values()}
    return f"{_rounded(ratios[0])} to {_rounded(ratios[-1])} of\nthe time of neural-tangents' analytic kernels ({where})"


def peers() -> str:
    """What was measured beside other libraries: a row for each task."""
    means, trained = records.load("means"), records.load("trained_peers")
    one, many = records.load("ntk_peers")["a"], records.load("ensembles")["throughput"]
    later = {name: times["later"] for name, times in one["methods"].items()}
    theirs = {
        library: min(time for name, time in later.items() if name.startswith(library))
        for library in ("neural-tangents", "torch.func")
    }
    rates = dict(many["float64"]["networks_a_second"])
    ours = rates.pop("ours, output_ntk")
    numerical = [case["ratio"] for name, case in means.items() if name.split(",")[0] in NUMERICAL]
    rows = [
        (f"G and H at infinite width, {name}", *(_seconds(means[name][who]["later"]) for who in ("ours", "theirs")), "`means.py`")
        for name in means
        if name.split(",")[0] in ANALYTIC
    ]  # fmt: skip
    rows += [
        (
            f"the same of tanh, silu and softplus, theirs to {NUMERICAL_ACCURACY:g} and scaled from {FEWER} inputs, ours to 1e-14",
            f"{_rounded(min(numerical))} to {_rounded(max(numerical))} of their time",
            "",
            "`means.py`",
        )
    ]
    rows += [
        (f"trained ensemble at infinite width, {name}", *(_seconds(case["later_s"][who]) for who in ("ours", "neural-tangents")), "`trained_peers.py`")
        for name, case in trained.items()
    ]  # fmt: skip
    rows += [
        (f"NTK of one network, 64 samples, 10 outputs ({library})", f"{_rounded(1e3 * later['ours'])} ms", f"{_rounded(1e3 * time)} ms", "`ntk_peers.py`")
        for library, time in theirs.items()
    ]  # fmt: skip
    rows += [
        ("NTKs of random networks a second, N = 8, n = 128, depth 4", _rounded(ours), _rounded(max(rates.values())), "`ensembles.py`")
    ]  # fmt: skip
    cases = {"means": means["relu, N = 2000"], "trained": trained["relu, N = 2000"], "one": one, "many": many}
    return _table(
        ("task, in float64", "ntkflow", "neural-tangents or torch.func", "program"),
        rows,
        cases,
        "medians of later calls",
    )


MAKERS = {
    maker.__name__: maker
    for maker in (
        first_result,
        flow_times,
        finite_ntk,
        mean_kernels,
        peers,
        output_ntk,
        fewer_draws,
        joint_sampler,
        trained_ensemble,
    )
}

PAGES = ("comparison", "flow", "many_inputs", "one_network", "many_networks", "observables", "training")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], cases: dict, medians: str) -> str:
    where = "; ".join(sorted({_on(case, "jax") for case in cases.values()}))
    return pages.table(head, rows) + f"\n{where}; {medians}.\n"


def _on(case: dict, *versions: str) -> str:
    machine = case["machine"]
    of = "".join(f", {name} {machine['versions'][name]}" for name in versions)
    return f"{machine['cores']} cores, {machine['processor']}{of}, {case['date']}"


def _rounded(x: float) -> str:
    """Two digits."""
    return f"{float(f'{x:.2g}'):,g}"


def _seconds(t: float) -> str:
    return f"{_rounded(t)} s"


if __name__ == "__main__":
    pages.main([pages.ROOT / "docs" / f"{name}.md" for name in PAGES], MAKERS)
