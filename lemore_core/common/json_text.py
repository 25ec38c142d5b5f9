"""JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any

from lemore_core.common.limits import MAX_JSON_BYTES


def parse_json(text: str | bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: it is none, too large or nested too deeply.
    """
    if len(text) > MAX_JSON_BYTES:
        msg = f'it has more than {MAX_JSON_BYTES} bytes'
        raise ValueError(msg)
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = 'it is nested too deeply'
        raise ValueError(msg) from error
