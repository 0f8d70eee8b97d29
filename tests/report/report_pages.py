"""What stands in a report: its data, its text, and results to report."""

import base64
import html
import json
import re
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import ntkflow
from ntkflow import Block, Dense, Network, Stage

SAMPLES = np.random.default_rng(7).normal(size=(220, 6))
MLP = ntkflow.MLP((6, 16, 16, 16, 2), "relu", C_W=2.0)
DEAD = MLP.replace(C_W=0.02)
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    """The JSON in a page."""
    match = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None

    def refused(constant: str) -> None:
        raise AssertionError(f"a browser's JSON.parse refuses {constant}")

    return json.loads(match[1], parse_constant=refused)


def text_of(page: str) -> str:
    """The words of a page, without style, script and data."""
    body = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def element(page: str, name: str) -> str:
    """The text of the element of an id."""
    match = re.search(rf'id="{name}">(.*?)</(?:pre|p)>', page, re.DOTALL)
    assert match is not None
    return html.unescape(match[1])


def inputs_of(page: str) -> np.ndarray | None:
    """The inputs that a page carries."""
    inputs = data_of(page)["inputs"]
    return (
        None if inputs is None else np.frombuffer(base64.b64decode(inputs["base64"])).reshape(inputs["shape"])
    )


def network_of_blocks() -> Network:
    norm: dict[str, Any] = {"eps": 0.1}
    block = Block([Stage("linear", "layer", width=8, **norm), Stage("gelu", C_W=1.5)], gamma=0.9)
    return Network((6, 16, 16, 16, 2), [Dense(), block, block, Block(Stage("relu", "rms", C_W=2.0, **norm))])


def hostile_flow() -> ntkflow.Flow:
    """Of an activation whose name is HTML that would change the page's title."""

    def tanh(z):
        return jnp.tanh(z)

    tanh.__qualname__ = HOSTILE
    return ntkflow.flow(ntkflow.MLP((6, 4, 2), tanh), SAMPLES[:2])


def results() -> dict[str, Any]:
    """One of each kind of result that has a report, and what is unusual among flows."""
    X, y = SAMPLES[:8], SAMPLES[:5, :2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = ntkflow.flow(MLP, SAMPLES[:3])
        return {
            "flow of 2": ntkflow.flow(MLP, SAMPLES[:2]),
            "flow of 8": ntkflow.flow(MLP, X),
            "flow of 200": ntkflow.flow(MLP, SAMPLES[:200], "pairs"),
            "mean": ntkflow.flow(MLP, X, "mean"),
            "block": ntkflow.flow(MLP, X, "mean", X2=SAMPLES[8:11]),
            "sets": ntkflow.flow(MLP, X, [(0, 1), (2,)]),
            "one sample": ntkflow.flow(MLP, X[:1]),
            "one layer": ntkflow.flow(ntkflow.MLP((6, 2)), X),
            "dead flow": ntkflow.flow(DEAD, X),
            "vanishing": ntkflow.flow(ntkflow.MLP((6, 4, 4, 2), "relu", C_W=0.0, lambda_b=0.0), X),
            "flow of blocks": ntkflow.flow(network_of_blocks(), X[:2], "pairs"),
            "diagnosis": ntkflow.diagnose(MLP, SAMPLES),
            "dead": ntkflow.diagnose(DEAD, X),
            "diagnosis of blocks": ntkflow.diagnose(network_of_blocks(), X),
            "recipe": ntkflow.tune(MLP, X),
            "comparison": ntkflow.compare(flow, ntkflow.ensemble(MLP, SAMPLES[:3], 300, 0)),
            "trained": ntkflow.trained(MLP, X[:5], y, X[5:]),
            "trained to order 1/n": ntkflow.trained(
                ntkflow.MLP((6, 32, 32, 1), "tanh"), X[:2], y[:2, :1], X[2:3], order=1
            ),
        }
