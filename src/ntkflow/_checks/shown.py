"""Values in messages."""

from __future__ import annotations

_MOST = 80  # characters


def shown(value: object) -> str:
    """A value as a message shows it: what is long is cut off, whatever Python can't write is named by its type."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep; a whole number of thousands of digits
        return f"what is too large to be shown, of type {type(value).__name__}"
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
