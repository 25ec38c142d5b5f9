"""Base classes of errors, and the words of messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# as pip takes it: the plain name brings gigabytes of CUDA
TORCH = 'torch (without a GPU: --index-url https://download.pytorch.org/whl/cpu)'

# characters of a message, and of a value in one: senders may make them as long as they like
MOST_SHOWN, MOST_OF_A_VALUE = 2000, 200


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
    """Return an error's message in one line, with its type where the message may need it."""
    if type(error).__module__ == 'cv2':  # an assertion, with the path of OpenCV's source
        return 'OpenCV cannot process it'
    if isinstance(error, OSError) and error.strerror:
        where = '' if error.filename is None else f'{error.filename}: '
        return printable(f'{where}{error.strerror}')
    # cut before its blanks are looked for
    text = ' '.join(str(error)[: 2 * MOST_SHOWN].split())
    # sentences of libraries need no name of a class
    is_foreign = type(error).__module__ != 'builtins' or isinstance(error, OSError)
    is_sentence = isinstance(error, LemoreError) or (is_foreign and ' ' in text)
    kind = '' if is_sentence else type(error).__name__
    return printable(': '.join(filter(None, (kind, text))))


@contextmanager
def refusing(what: str, error: type[LemoreError]) -> Iterator[None]:
    """Raise what libraries raise as ``error``, but our own as it is: theirs share no other base."""
    try:
        yield
    except LemoreError:
        raise
    except Exception as reason:
        msg = f'{what}: {getattr(reason, "strerror", None) or in_one_line(reason)}'
        raise error(msg) from reason


def printable(text: str, most: int = MOST_SHOWN) -> str:
    """Return foreign text as it may be shown: control characters escaped, cut to ``most`` of them."""
    found = ''.join(
        c if c.isprintable() else c.encode('unicode_escape').decode() for c in text[: most + 1]
    )
    return found if len(found) <= most else f'{found[:most]}…'


def shown(value: object) -> str:
    """Return a value for an error message, cut where it is long."""
    return printable(repr(value[:MOST_SHOWN] if isinstance(value, str) else value), MOST_OF_A_VALUE)


def first_few(texts: Sequence[str], most: int, more: str = 'and') -> list[str]:
    """Return the first texts, and the number of further ones: ``and 3 more``."""
    further = len(texts) - most
    return [*texts[:most], *([f'{more} {further} more'] if further > 0 else [])]


def span(seconds: float) -> str:
    """Return a time in words: ``2.50 s``, ``7.00 h``, ``19,675.88 days``."""
    units = {'days': 86400, 'h': 3600, 's': 1}
    unit = next((unit for unit, size in units.items() if abs(seconds) >= 2 * size), 's')
    return f'{seconds / units[unit]:,.2f} {unit}'


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 image``, ``2 images``, ``1,000 images``."""
    return f'{number:,} {noun}{"" if number == 1 else "s"}'
