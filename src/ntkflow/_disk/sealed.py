"""JSON files with a digest of themselves: a store's metadata and its records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import FileError
from .atomic import beside

DIGEST = "ntkflow_sha256"
MOST = 2**24  # bytes of such a file


def digest_of(document: Any) -> str:
    """SHA-256 of what JSON says, however it is spaced."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=lambda value: value.tolist())
    return hashlib.sha256(text.encode()).hexdigest()


def parsed(data: bytes | str) -> dict:
    """A JSON object; ValueError if it is none."""
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 as what json.loads raises
    return document


def write_json(path: Path, document: dict) -> None:
    """Write a JSON file, or replace it, whole."""
    temporary = beside(path)
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(path)


def write_record(folder: Path, store: str, name: str, chunks: dict) -> None:
    """Write the record `name` of a store: the checksums of `chunks`."""
    record = {"store": store, "record": name, "chunks": chunks}
    write_json(folder / f"{name}.json", {**record, DIGEST: digest_of(record)})


def read_record(data: bytes, store: str, name: str) -> dict:
    """The checksums in a record's file; FileError if it is damaged, of another store or of another name."""
    try:
        record = parsed(data)
        digest = record.pop(DIGEST, None)
    except ValueError as error:
        raise FileError(f"the record {name} is damaged: {error}") from error
    if digest != digest_of(record) or (record["store"], record["record"]) != (store, name):
        raise FileError(f"the record {name} is damaged: it is not what was written")
    return record["chunks"]
