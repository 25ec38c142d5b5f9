"""What the C library does with the memory of images that are no longer needed."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, suppress

# of mallopt(3)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 64 * 2**20
# the most that glibc allows
BLOCK_BYTES = 32 * 2**20


def keep_freed_memory() -> None:
    """Let this process keep what one image leaves for the next, in every thread.

    glibc gives blocks of some megabytes back as soon as a stage's thread frees them, and gets them
    anew, zeroed page by page, for the next image: at 1920x1080 a quarter of the labelling's time.
    Other C libraries are left as they are.
    """
    with _glibc_only():
        library = ctypes.CDLL(None)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_MMAP_THRESHOLD, BLOCK_BYTES)


def give_back_freed_memory() -> None:
    """Return to the system what this process has freed and its C library keeps."""
    with _glibc_only():
        ctypes.CDLL(None).malloc_trim(0)


def _glibc_only() -> AbstractContextManager[None]:
    # other C libraries have no such functions
    return suppress(AttributeError, OSError, TypeError)
