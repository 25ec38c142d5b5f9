"""What a user asked to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from lemore_core.benchmark.cases import Grid, Size
from lemore_core.benchmark.errors import BenchmarkError

KIND = 'onnx'


@dataclass(frozen=True)
class Plan:
    """One measurement and its options; those that it has no use for are ignored.

    ``grid.sizes`` may be empty: the image's own. ``image`` None is the shipped clip. ``rates`` are
    in Hz; ``seconds`` is how long each lasts, ``probe_seconds`` how long each attempt of the
    search for the highest. ``images`` is how many are labelled while the memory is watched.
    """

    what: str
    grid: Grid
    _: KW_ONLY
    image: Path | None = None
    rounds: int = 30
    peers: Sequence[Path] = ()
    peer_size: Size | None = None
    memory: bool = True
    rates: Sequence[float] = (10.0, 30.0, 60.0)
    seconds: float = 10.0
    probe_seconds: float = 3.0
    images: int = 10_000


def peer_path(text: str) -> Path:
    """Return FILE of ``onnx:FILE``.

    Raises:
        BenchmarkError: it is written otherwise, or there is no such file.

    """
    kind, _, name = text.partition(':')
    if kind != KIND or not name:
        msg = f'a peer is written {KIND}:FILE, not {text!r}'
        raise BenchmarkError(msg)
    path = Path(name)
    if not path.is_file():
        msg = f'there is no peer {path}'
        raise BenchmarkError(msg)
    return path
