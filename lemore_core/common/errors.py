"""Base classes of errors, and the words of messages."""

# as pip takes it: the plain name brings gigabytes of CUDA
TORCH = 'torch (without a GPU: --index-url https://download.pytorch.org/whl/cpu)'


class LemoreError(Exception):
    """An error that the user can correct; the message names the cause and the remedy."""


class SegmenterError(LemoreError):
    """A model that is not shipped, or a dataset or size that does not fit the model."""


class GpuContextLostError(LemoreError):
    """A GPU context lost to this process; another process may be able to use the GPU.

    Every further call on the GPU fails, and the destructors of pinned memory and CUDA graphs
    abort the process. So end it with ``os._exit``.
    """


def in_one_line(error: Exception) -> str:
    """Return an error's message in one line, with its type if it is no :class:`LemoreError`."""
    text = ' '.join(str(error).split())
    kind = '' if isinstance(error, LemoreError) else type(error).__name__
    return printable(': '.join(filter(None, (kind, text))))


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read, without its name, in one line."""
    return getattr(error, 'strerror', None) or in_one_line(error)


def printable(text: str) -> str:
    """Escape control characters: text of messages and files reaches terminals."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 image``, ``2 images``, ``1,000 images``."""
    return f'{number:,} {noun}{"" if number == 1 else "s"}'
