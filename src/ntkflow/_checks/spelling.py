"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .shown import shown

_ALIKE = 0.6


def did_you_mean(word: object, names: Iterable[str]) -> str:
    """ " (did you mean 'relu'?)" for "Relu", or "" where no name is like it: to be put behind the word in a message."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(shown(word).strip("'\"").lower(), by_lower, 1, _ALIKE)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""
