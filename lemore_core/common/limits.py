"""Limits for untrusted input; light enough for help texts."""

from __future__ import annotations

import json
from typing import Any

MAX_PIXELS = 50_000_000  # of one image
MAX_MESSAGE_BYTES = 2**29  # of a message or chunk in a bag, once decompressed
MAX_IMAGE_BYTES = 2**29  # of an image file
MAX_MODEL_BYTES = 2**31  # of a checkpoint or an ONNX file

MAX_JSON_BYTES = 2**22
MAX_YAML_BYTES = 2**21
MAX_YAML_DEPTH = 32
# named by their endings, and never unpacked
ARCHIVES = ('.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.7z', '.rar', '.zst')
# degrees clockwise by which the network may see an image rotated
ROTATIONS = (0, 90, 180, 270)
# of channels that are stored in 16 bits; 0 finds it
BIT_DEPTHS = (0, *range(8, 17))


def parse_json(text: str | bytes) -> Any:
    """Return the values of a JSON text, or raise a ValueError."""
    if len(text) > MAX_JSON_BYTES:
        msg = f'it has more than {MAX_JSON_BYTES} bytes'
        raise ValueError(msg)
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = 'it is nested too deeply'
        raise ValueError(msg) from error
