"""Triton's compiler with types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl


def jit(function: Callable[..., Any]) -> Any:
    """Make a Triton kernel, or a function that kernels call."""
    return triton.jit(function)


@jit
def add_one(number: tl.tensor) -> None:
    """Add one to a float32 number: the least that a kernel can do."""
    tl.store(number, tl.load(number) + 1.0)
