"""Reads the metadata of an ONNX file without a package that knows ONNX.

An ONNX file is one protobuf message; its metadata are the entries of field 14, each a message of
a key (1) and a value (2). All else is skipped, so the weights are not even read from the disk.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

METADATA, KEY, VALUE = 14, 1, 2
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5

Buffer = bytes | mmap.mmap


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file; empty if it has none.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no protobuf message, or breaks off.

    """
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        entries = [dict(_fields(entry)) for field, entry in _fields(content) if field == METADATA]
    return {e[KEY].decode(): e.get(VALUE, b'').decode() for e in entries if KEY in e}


def _fields(message: Buffer) -> Iterator[tuple[int, bytes]]:
    """Iterate over the numbers and contents of the fields that have a length and are wanted."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, at = _varint(message, at)
            continue
        size, at = _size(message, at, kind)
        if not field or at + size > len(message):
            msg = f'field {field} at byte {at} has {size} bytes, the message has {len(message)}'
            raise ValueError(msg)
        if kind == LENGTH and field in (METADATA, KEY, VALUE):
            yield field, message[at : at + size]
        at += size


def _size(message: Buffer, at: int, kind: int) -> tuple[int, int]:
    if kind == LENGTH:
        return _varint(message, at)
    if kind not in (EIGHT_BYTES, FOUR_BYTES):
        msg = f'there is no kind {kind} of field, as stands at byte {at}'
        raise ValueError(msg)
    return (8 if kind == EIGHT_BYTES else 4), at


def _varint(message: Buffer, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
    msg = f'a number breaks off at byte {at}'
    raise ValueError(msg)
