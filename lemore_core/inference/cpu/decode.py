"""Labels and confidence at the camera's size from logits at the network's, without upsampling.

Bilinear interpolation mixes the four logit vectors around a pixel with weights that are not
negative and sum to one. Call the pixels between the same four vectors a cell. A class that is the
argmax of all four is the argmax everywhere in the cell; in the other cells a class can only win
if its largest corner reaches the smallest corner of every class. So most pixels cost a copy, and
the rest the interpolation of a few classes. The labels are those of upsampling and then taking the
argmax, up to rounding.

Confidence is the bilinear interpolation, at the pixel, of the softmax probabilities that the four
vectors give to the class that won there. It is low where the network is unsure and along
boundaries, where the neighbours vote for another class, and costs one softmax per logit vector: a
softmax of every upsampled pixel would cost more than the network.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from lemore_core.common.child import Child, ChildError, serve_parent, stop_children
from lemore_core.inference.cpu.decode_numba import Axis, Bytes, Floats, Labels, decode_kernel
from lemore_core.inference.cpu.decode_plain import decode_plainly

JOIN_S = 2.0

# labels have 8 or 16 bits and a kernel for each: the thread that compiles it, None afterwards
_compiling: dict[np.dtype[Any], threading.Thread | None] = {}
_lock = threading.Lock()
_is_ending = threading.Event()


def decode(logits: Floats, height: int, width: int) -> tuple[Labels, NDArray[np.uint8]]:
    """Decode logits to labels and confidence at another size.

    ``logits`` are (h, w, classes) float32, C-contiguous, of at most 65535 classes; ``height`` and
    ``width`` may be smaller. Labels are uint8, or uint16 for more than 255 classes: equal to
    ``interpolate(mode='bilinear', align_corners=False)`` of torch and the argmax, except where the
    two best classes are as close as float32 rounds (the lower id wins a tie). Confidence is uint8:
    255 times the probability of the label, as defined at the top of the module. Labels of non-finite
    logits are in range.
    """
    arguments = kernel_arguments(logits, height, width)
    *_, labels, confidence = arguments
    kernel = decode_plainly if _compiling.get(labels.dtype) else decode_kernel
    kernel(*arguments)
    return labels, confidence


def kernel_arguments(
    logits: Floats, height: int, width: int
) -> tuple[Floats, Axis, Axis, Labels, Bytes]:
    """Return the arguments of a decoder, the last two empty arrays to fill."""
    rows, columns, classes = logits.shape
    labels = np.empty((height, width), np.uint8 if classes <= 255 else np.uint16)
    # always plain and read-only: each other kind of array would be compiled for anew
    view = logits.view(np.ndarray)
    view.flags.writeable = False
    confidence = np.empty((height, width), np.uint8)
    return view, _axis(rows, height), _axis(columns, width), labels, confidence


def prepare(classes: int) -> None:
    """Load or compile the kernel for ``classes`` in the background; labels are the same."""
    kind = _smallest(classes)[3].dtype
    with _lock:
        if kind not in _compiling:
            thread = threading.Thread(target=_prepare, args=(classes, kind), daemon=True)
            _compiling[kind] = thread
            thread.start()


def is_compiling() -> bool:
    """Return whether a kernel is compiled by :func:`prepare` at the moment."""
    return any(list(_compiling.values()))


def wait_until_compiled() -> None:
    """Wait for :func:`prepare`, before a measurement."""
    for thread in filter(None, list(_compiling.values())):
        thread.join()


def warm_up(classes: int = 2) -> None:
    """Load the kernel for ``classes`` from the cache, or compile it."""
    # on a full disk: the cache is written after the kernel is in place
    with suppress(OSError):
        decode_kernel(*_smallest(classes))


def _smallest(classes: int) -> tuple[Floats, Axis, Axis, Labels, Bytes]:
    return kernel_arguments(np.zeros((2, 2, classes), np.float32), 2, 2)


def _prepare(classes: int, kind: np.dtype[Any]) -> None:
    signature = tuple(map(numba.typeof, _smallest(classes)))
    # numba has no public way to find out whether a call would compile
    if not decode_kernel._cache.load_overload(signature, decode_kernel.targetctx):  # type: ignore[attr-defined]  # noqa: SLF001
        # in another process: compiling holds the interpreter lock
        with suppress(ChildError, OSError), Child(__name__, {'classes': classes}) as child:
            child.result()
    if not _is_ending.is_set():
        warm_up(classes)
        _compiling[kind] = None


@atexit.register
def _end() -> None:
    # LLVM must not be at work when its own exit handlers run
    _is_ending.set()
    for thread in filter(None, list(_compiling.values())):
        stop_children(thread)
        thread.join(JOIN_S)


@lru_cache(maxsize=32)
def _axis(logits: int, pixels: int) -> Axis:
    """Map pixels to logits as torch does with ``align_corners=False``."""
    source = np.maximum((np.arange(pixels) + 0.5) * (logits / pixels) - 0.5, 0)
    cell = np.minimum(source.astype(np.int64), logits - 1)
    starts = np.searchsorted(cell, np.arange(logits + 1)).astype(np.int64)
    weights = (source - cell).astype(np.float32)
    starts.flags.writeable = weights.flags.writeable = False  # every caller gets the same arrays
    return Axis(starts, weights)


def _work(order: dict[str, Any]) -> None:
    os.nice(10)
    warm_up(order['classes'])


if __name__ == '__main__':
    sys.exit(serve_parent(_work))
