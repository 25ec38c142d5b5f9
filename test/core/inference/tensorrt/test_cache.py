from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from onnx import TensorProto, helper

from lemore_core.common.errors import GpuContextLostError
from lemore_core.inference.backend import BackendError, ServingRequest
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import cache as cache_module
from lemore_core.inference.tensorrt.cache import CachedEngine, locate_engine


@pytest.fixture
def engine(folder: Path) -> CachedEngine:
    request = ServingRequest(Path('a.safetensors'), 64, 128)
    return CachedEngine(request, Gpu('cuda:0', 'A2000', '8.6', '580.65'), folder / 'a.engine')


def test_an_engine_that_cannot_be_kept_is_a_failure(engine: CachedEngine, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b'')
    with pytest.raises(BackendError, match='was built but cannot be kept in'):
        engine.keep(b'engine')
    with engine.one_builder():
        pass
    engine.refuse(GpuContextLostError('lost'))
    assert engine.require_allowed() is engine


def test_one_process_builds_at_a_time(engine: CachedEngine, start_python: Any) -> None:
    code = (
        'import sys\n'
        'from pathlib import Path\n'
        'from lemore_core.inference.tensorrt.cache import CachedEngine\n'
        'print("waits", flush=True)\n'
        'with CachedEngine(None, None, Path(sys.argv[1])).one_builder(): print("mine")'
    )
    with engine.one_builder():
        other = start_python('-c', code, str(engine.path))
        assert other.stdout.readline() == 'waits\n'
        time.sleep(0.2)  # one that does not wait needs far less
        assert other.poll() is None
    assert other.communicate(timeout=60) == ('mine\n', '')


def test_every_fact_makes_another_engine(
    api: ModuleType, untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ServingRequest(untrained_checkpoint, 64, 128)
    changes = ({'height': 96}, {'width': 96}, {'batch': 2}, {'precision': 'fp32'})
    paths = [locate_engine(request).path]
    paths += [locate_engine(dataclasses.replace(request, **one)).path for one in changes]
    api.__version__ = '11.5'
    paths.append(locate_engine(request).path)
    monkeypatch.setattr(cache_module, 'find_gpu', lambda _: Gpu('cpu', 'A4000', '8.6', '580.65'))
    paths.append(locate_engine(request).path)
    assert len(set(paths)) == 7


@pytest.mark.usefixtures('api')
@pytest.mark.parametrize(('first', 'expected'), [('batch', 3), (1, 1)])
def test_a_file_of_one_image_has_an_engine_for_one(
    tmp_path: Path, first: int | str, expected: int
) -> None:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, [first, 8, 8, 3])
        for name in ('pixels', 'logits')
    ]
    node = helper.make_node('Identity', ['pixels'], ['logits'])
    model = helper.make_model(helper.make_graph([node], 'one', ports[:1], ports[1:]))
    path = tmp_path / 'imported.onnx'
    path.write_bytes(model.SerializeToString())
    assert locate_engine(ServingRequest(path, 8, 8, batch=3)).request.batch == expected
