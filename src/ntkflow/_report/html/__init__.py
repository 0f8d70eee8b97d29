"""Reports as one HTML file: `write` puts sections of results, a drawing of the network and their provenance into a page."""

from .document import write

__all__ = ["write"]
