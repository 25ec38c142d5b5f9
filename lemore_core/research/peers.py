"""Other people's networks: any ONNX file, timed beside LeMoRe's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lemore_core.benchmark.cases import Case
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import Pixels
from lemore_core.inference.onnxruntime_backend import session_options
from lemore_core.research.networks import NetworkRow, own_network, time_networks

CHANNELS = (1, 3, 4)
DTYPES = {
    'tensor(float)': 'float32',
    'tensor(float16)': 'float16',
    'tensor(double)': 'float64',
    'tensor(uint8)': 'uint8',
    'tensor(int8)': 'int8',
    'tensor(int32)': 'int32',
    'tensor(int64)': 'int64',
    'tensor(bool)': 'bool',
}

Dimensions = Sequence[int | str | None]


@dataclass(frozen=True)
class Peer:
    """An ONNX file with inputs that it takes."""

    name: str
    session: Any
    feed: Mapping[str, NDArray[Any]]
    threads: int

    @property
    def inputs(self) -> str:
        """What it is fed."""
        return ', '.join(f'{"x".join(map(str, a.shape))} {a.dtype}' for a in self.feed.values())

    def __call__(self) -> object:
        """Run it."""
        return self.session.run(None, self.feed)


def time_peers(
    case: Case,
    image: Pixels,
    paths: Sequence[Path],
    size: tuple[int, int] | None,
    repeats: Iterable[object],
) -> list[NetworkRow]:
    """Time the network of a case alone, and those of other ONNX files on as many threads.

    ``image`` is BGR (H, W, 3) uint8. ``size`` (height, width) is for files that leave theirs open,
    None for that of the case's network.

    Raises:
        LemoreError: the case or a file cannot be loaded.

    """
    own = own_network(case, image)
    size = size or case.request().size
    peers = [load_peer(path, size, own.threads, own.network.device) for path in paths]
    return time_networks([own, *peers], repeats)


def load_peer(path: Path, size: tuple[int, int], threads: int, device: str = 'cpu') -> Peer:
    """Load an ONNX file on so many threads, and fill its inputs by their declared shapes.

    Where it leaves a dimension open, the batch is 1, the colours are 3 and ``size`` (height,
    width) is the image's.

    Raises:
        BenchmarkError: ONNX Runtime cannot load the file, its inputs cannot be guessed, or it
            does not run with what was guessed.

    """
    if not path.is_file():
        msg = f'there is no file {path}'
        raise BenchmarkError(msg)
    try:
        session = onnxruntime.InferenceSession(
            str(path), session_options(threads), providers=_providers(device)
        )
    except Exception as error:  # the runtime's exceptions share no other base
        msg = f'{path} is no ONNX file that ONNX Runtime can load: {_first_line(error)}'
        raise BenchmarkError(msg) from error
    feed = {one.name: _filled(path, one, size) for one in session.get_inputs()}
    peer = Peer(str(path), session, feed, threads)
    try:
        peer()
    except Exception as error:
        msg = f'{path} does not run with {peer.inputs}: {_first_line(error)}; try --size WxH'
        raise BenchmarkError(msg) from error
    return peer


def guessed_shape(declared: Dimensions, size: tuple[int, int]) -> tuple[int, ...] | None:
    """Return a shape with the open dimensions of ``declared`` filled in, None if unknowable.

    Numbers stay. Images have three or four dimensions, with the colours first or last. Of other
    inputs only the first dimension may be open: the batch.
    """
    known = [one if isinstance(one, int) and one > 0 else None for one in declared]
    if len(known) in (3, 4):
        last = known[-1] in CHANNELS and known[-3] not in CHANNELS
        image = (*size, 3) if last else (3, *size)
        likely: tuple[int | None, ...] = (1, *image)[-len(known) :]
    else:
        likely = (1, *[None] * (len(known) - 1))[: len(known)]
    shape = [fixed or guess for fixed, guess in zip(known, likely, strict=True)]
    filled = [one for one in shape if one is not None]
    return tuple(filled) if len(filled) == len(shape) else None


def _providers(device: str) -> list[Any]:
    kind, _, index = device.partition(':')
    cuda = ('CUDAExecutionProvider', {'device_id': int(index or 0)})
    return [cuda] if kind == 'cuda' else ['CPUExecutionProvider']


def _filled(path: Path, declared: Any, size: tuple[int, int]) -> NDArray[Any]:
    dtype = DTYPES.get(declared.type)
    shape = None if declared.shape is None else guessed_shape(declared.shape, size)
    if dtype is None or shape is None:
        msg = (
            f'{path}: nothing can be guessed for the input {declared.name!r}, '
            f'{declared.type} of shape {declared.shape}: fix its shape in the file'
        )
        raise BenchmarkError(msg)
    random = np.random.default_rng(0)
    if dtype == 'uint8':
        return random.integers(0, 256, shape, np.uint8)
    if dtype.startswith('float'):
        return random.standard_normal(shape, np.float32).astype(dtype)
    # a mask, a length or an index: one is allowed in most
    return np.ones(shape, dtype)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
