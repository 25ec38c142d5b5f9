"""JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: it is none, or nested too deeply.

    """
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = 'it is nested too deeply'
        raise ValueError(msg) from error
