"""The root of every error that the library raises on purpose."""

# as pip takes it: the plain name brings gigabytes of CUDA
TORCH = 'torch (without a GPU: --index-url https://download.pytorch.org/whl/cpu)'


class LemoreError(Exception):
    """Something that the user can put right; the message says what and how."""


class SegmenterError(LemoreError):
    """A model that is not shipped, or a dataset or size that does not fit the model."""


class GpuContextLostError(LemoreError):
    """A GPU whose state is lost to this process; another process may be able to use it.

    Every further call on the GPU fails, and what it held cannot be freed: the destructors of
    pinned memory and CUDA graphs abort the process. So end it with ``os._exit``.
    """


def in_one_line(error: Exception) -> str:
    """Say what went wrong, with the kind of an error that was not raised on purpose."""
    kind = '' if isinstance(error, LemoreError) else f'{type(error).__name__}: '
    return printable(' '.join(f'{kind}{error}'.split()))


def printable(text: str) -> str:
    """Escape what would command a terminal: text of messages and files reaches logs."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
