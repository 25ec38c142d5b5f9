from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.research.peers import Dimensions, guessed_shape, load_peer


def write(path: Path, kind: int, shape: Dimensions) -> Path:
    """Write a network that returns what it is given."""
    ports = [helper.make_tensor_value_info(name, kind, list(shape)) for name in ('x', 'y')]
    node = helper.make_node('Identity', ['x'], ['y'])
    graph = helper.make_graph([node], 'same', ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ('declared', 'expected'),
    [
        ((1, 3, 512, 512), (1, 3, 512, 512)),
        (('batch', 3, 'height', 'width'), (1, 3, 60, 80)),
        ((None, None, None, 3), (1, 60, 80, 3)),
        (('n', 'c', 'h', 'w'), (1, 3, 60, 80)),
        ((3, 'h', 'w'), (3, 60, 80)),
        (('h', 'w', 3), (60, 80, 3)),
        (('batch', 2), (1, 2)),
        ((), ()),
        (('batch', 'length'), None),
        ((1, 3, 'd', 'h', 'w'), None),
    ],
)
def test_open_dimensions_are_guessed(
    declared: Dimensions, expected: tuple[int, ...] | None
) -> None:
    assert guessed_shape(declared, (60, 80)) == expected


@pytest.mark.parametrize(
    ('kind', 'dtype'),
    [
        (TensorProto.FLOAT, 'float32'),
        (TensorProto.FLOAT16, 'float16'),
        (TensorProto.UINT8, 'uint8'),
        (TensorProto.INT64, 'int64'),
    ],
)
def test_any_onnx_file_runs(tmp_path: Path, kind: int, dtype: str) -> None:
    path = write(tmp_path / 'same.onnx', kind, ('n', 3, 'h', 'w'))
    peer = load_peer(path, (60, 80), 1)
    assert peer.inputs == f'1x3x60x80 {dtype}'
    assert (peer.name, peer.threads) == (str(path), 1)
    peer()


def test_what_cannot_be_timed_is_refused(tmp_path: Path) -> None:
    words = write(tmp_path / 'words.onnx', TensorProto.STRING, (1, 3))
    with pytest.raises(BenchmarkError, match=r"guessed for the input 'x', tensor\(string\)"):
        load_peer(words, (60, 80), 1)
    open_length = write(tmp_path / 'open.onnx', TensorProto.FLOAT, ('n', 'length'))
    with pytest.raises(BenchmarkError, match='fix its shape'):
        load_peer(open_length, (60, 80), 1)
    text = tmp_path / 'text.onnx'
    text.write_text('no network')
    with pytest.raises(BenchmarkError, match='is no ONNX file that ONNX Runtime can load'):
        load_peer(text, (60, 80), 1)


def test_a_file_that_is_gone_is_named() -> None:
    with pytest.raises(BenchmarkError, match=r'there is no file gone\.onnx'):
        load_peer(Path('gone.onnx'), (60, 80), 1)
