"""Where a report comes from: versions, the network, the inputs, and the lines of Python that make it again."""

from __future__ import annotations

import base64
import datetime
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import tomli_w

from ...version import __version__

_MOST_BYTES = 1_800_000  # of inputs: as text they take a third more
_LIBRARIES = ("jax", "numpy", "scipy")
_ARRAY = re.compile(r"\[\n((?:    [^\[\]{}\n]+,\n)+)\]")
"""Of numbers or names, one a line, as tomli_w writes it."""
_READ_PAGE = """\
import base64, json, re
import numpy as np
import ntkflow

page = open("report.html", encoding="utf-8").read()  # this file
data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])"""
_READ_INPUTS = (
    'X = np.frombuffer(base64.b64decode(data["inputs"]["base64"])).reshape(data["inputs"]["shape"])'
)


def selection(components: str | Sequence) -> str:
    """The argument `components`, as Python writes it."""
    return repr(components if isinstance(components, str) else list(components))


@dataclass(frozen=True)
class Provenance:
    """What a report says of how its results were computed.

    Attributes:
        network: an MLP or a Network.
        calls: lines of Python that compute the results from `network` and `X`.
        X: the inputs that the results hold, (N, n_0); None if they hold none.
        wanted: whether the reader is to have them.
        file, file_version: of a saved result, its name and the version of ntkflow that computed it.
        shape: of the inputs in words, where they are not there.
    """

    network: Any
    calls: Sequence[str]
    X: np.ndarray | None = None
    wanted: bool = True
    file: str | None = None
    file_version: str | None = None
    shape: str = "the inputs, one sample a row"

    @property
    def embeds(self) -> bool:
        """Whether the page holds the inputs."""
        return self.X is not None and self.wanted and self.X.nbytes <= _MOST_BYTES

    def versions(self) -> dict[str, str]:
        """Of ntkflow, the libraries that compute, and Python."""
        libraries = {name: version(name) for name in _LIBRARIES}
        return {"ntkflow": __version__, **libraries, "Python": platform.python_version()}

    def data(self) -> dict[str, Any]:
        """What the page's JSON has of it."""
        inputs = None
        if self.embeds and self.X is not None:
            text = base64.b64encode(np.ascontiguousarray(self.X, "<f8").tobytes()).decode()
            inputs = {"base64": text, "shape": list(self.X.shape)}
        return {"network": self.network.to_spec(), "inputs": inputs, "versions": self.versions()}

    def words(self) -> dict[str, Any]:
        """What the page says of it."""
        return {
            "computed": self._computed(), "inputs": self._inputs(), "has_inputs": self.embeds, "again": self._again(), "code": self._code(),
            "toml": self._toml(),
        }  # fmt: skip

    def _computed(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions().items())
        day = datetime.datetime.now(datetime.UTC).date()
        written = f"Written on {day} by {versions}."
        if self.file is None:
            return written
        by = "" if self.file_version is None else f", computed by ntkflow {self.file_version}"
        return f"Read from the file {self.file}{by}. {written}"

    def _inputs(self) -> str:
        if self.X is None:
            return "The inputs are not in this file: the result does not hold them."
        count, size = self.X.shape
        if not self.wanted:
            return f"The {count} × {size} inputs were left out of this file on request. Pictures and tables name samples by their numbers alone."
        if not self.embeds:
            return f"The {count} × {size} inputs are not in this file: they would take {self.X.nbytes * 4 / 3e6:.3g} MB."
        return (
            f"This file carries the inputs, all {count} × {size} numbers: whoever has the file has them. Where they are confidential, make it with "
            "inputs=False (--no-inputs on the command line)."
        )

    def _again(self) -> str:
        callables = self._callables()
        if callables:
            return f"In Python; the activation {', '.join(callables)} is a function of yours, which this file does not hold: put it in the network's place."
        inputs = "" if self.embeds else " with your inputs as X"
        return f"In Python{inputs}; or save the TOML file below and give it to the commands of ntkflow."

    def _code(self) -> str:
        lines = [_READ_PAGE]
        spec = self.network.to_spec()
        if self._callables() or "layers" in spec:
            lines.append('network = ...  # as data["network"] describes it')
        else:
            lines.append(f'network = ntkflow.{type(self.network).__name__}.from_spec(data["network"])')
        lines.append(_READ_INPUTS if self.embeds else f"X = ...  # {self.shape}")
        return "\n".join([*lines, *self.calls])

    def _callables(self) -> list[str]:
        return list(dict.fromkeys(a.name for a in self.network.activation if not a.registered))

    def _toml(self) -> str:
        spec = self.network.to_spec()
        if self._callables() or "layers" in spec:
            return ""
        return _ARRAY.sub(_in_a_line, tomli_w.dumps(spec))


def _in_a_line(array: re.Match) -> str:
    return f"[{', '.join(array[1].replace(',', ' ').split())}]"
