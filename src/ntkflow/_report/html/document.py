"""The page: a template, a style and a script, filled with sections and data, and written as one file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path

from ..._checks.extras import needs
from ..._disk.atomic import replaced
from ...errors import FileError
from ..describe import architecture, hyperparameters
from .drawing import caption, drawing
from .parts import Section
from .provenance import Provenance

_PACKAGE = "ntkflow._report.html"
_SCRIPTS = ("plot.js", "charts.js", "page.js")
SUFFIXES = (".html", ".htm")
_OF_INTEGRATION = "by the integration"


def write(
    path: str | PathLike, sections: Sequence[Section], provenance: Provenance, error: str = _OF_INTEGRATION
) -> None:
    """Write a report, replacing what is there.

    Args:
        path: ending in .html.
        sections: in their order.
        provenance: of the network that they are of.
        error: what the first of the two errors in pictures comes from, in words.

    Raises:
        FileError: the name has another suffix, or the file can't be written.
        MissingExtraError: jinja2 is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise FileError(f"cannot write the report {path}: its name must end in .html")
    page = rendered(sections, provenance, error)
    with replaced(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def rendered(sections: Sequence[Section], provenance: Provenance, error: str = _OF_INTEGRATION) -> str:
    """The text of the page; arguments as of `write`."""
    with needs("report", "a report"):
        import jinja2
        from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    pictures = [picture for section in sections for picture in section.pictures]
    numbers = {id(picture): number for number, picture in enumerate(pictures)}
    network = provenance.network
    return environment.from_string(_resource("page.html.j2")).render(
        title=architecture(network),
        subtitle=", ".join(hyperparameters(network)),
        drawing=Markup(drawing(network)),
        drawing_caption=caption(network),
        sections=sections,
        number_of=lambda picture: numbers[id(picture)],
        provenance=provenance.words(),
        style=Markup(_resource("page.css")),
        script=Markup("\n".join(map(_resource, _SCRIPTS))),
        data=provenance.data()
        | {"pictures": [picture.data() for picture in pictures], "words": {"error": error}},
    )


def _resource(name: str) -> str:
    return files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")
