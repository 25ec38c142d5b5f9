from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from onnx import TensorProto, helper

from lemore_core.common.errors import GpuContextLostError
from lemore_core.export.errors import PrecisionError
from lemore_core.inference.backend import BackendError, RefusedEngineError, ServingRequest
from lemore_core.inference.gpu.device import Gpu
from lemore_core.inference.tensorrt import cache as cache_module
from lemore_core.inference.tensorrt.cache import MOST_KEPT, EngineCache, locate_engine

ENGINE = bytes(range(256)) * 40


@pytest.fixture
def cache() -> EngineCache:
    return EngineCache()


def test_an_engine_is_kept_for_this_user(cache: EngineCache, folder: Path) -> None:
    assert cache.read('a') is None
    cache.keep('a', ENGINE)
    assert EngineCache().read('a') == ENGINE
    assert cache.folder == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    cache.discard('a')
    cache.discard('a')
    assert cache.read('a') is None


@pytest.mark.parametrize('damage', ['truncated', 'one bit', 'empty', 'others may write'])
def test_what_is_damaged_or_of_somebody_else_is_no_engine(cache: EngineCache, damage: str) -> None:
    cache.keep('a', ENGINE)
    path = cache.path('a')
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= damage == 'one bit'
    path.write_bytes(content[: {'truncated': -1, 'empty': 0}.get(damage)])
    path.chmod(0o602 if damage == 'others may write' else 0o600)
    assert cache.read('a') is None
    cache.keep('a', ENGINE)
    assert cache.read('a') == ENGINE


def test_the_last_used_are_kept(cache: EngineCache) -> None:
    for number in range(MOST_KEPT + 1):
        cache.keep(f'{number}', ENGINE)
        os.utime(cache.path(f'{number}'), (number, number))
        if number == MOST_KEPT - 1:
            assert cache.read('0') == ENGINE
    assert cache.read('0') == ENGINE
    assert cache.read('1') is None


def test_an_engine_that_cannot_be_kept_is_a_failure(cache: EngineCache, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b'')
    with pytest.raises(BackendError, match='was built but cannot be kept in'):
        cache.keep('a', ENGINE)
    with cache.one_builder():
        pass
    cache.refuse('a', GpuContextLostError('lost'))
    assert cache.refusal('a') == ''


def test_one_process_builds_at_a_time(cache: EngineCache) -> None:
    code = (
        'from lemore_core.inference.tensorrt.cache import EngineCache\n'
        'with EngineCache().one_builder(): print("mine")'
    )
    with cache.one_builder():
        other = subprocess.Popen(
            [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
        )
        time.sleep(0.2)
        assert other.poll() is None
    assert other.communicate(timeout=60)[0] == 'mine\n'


def test_every_fact_makes_another_engine(
    api: ModuleType, untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ServingRequest(untrained_checkpoint, 64, 128)
    changes = ({'height': 96}, {'width': 96}, {'batch': 2}, {'precision': 'fp32'})
    digests = [locate_engine(request).digest]
    digests += [locate_engine(dataclasses.replace(request, **one)).digest for one in changes]
    api.__version__ = '11.5'
    digests.append(locate_engine(request).digest)
    monkeypatch.setattr(cache_module, 'find_gpu', lambda _: Gpu('cpu', 'A4000', '8.6', '580.65'))
    digests.append(locate_engine(request).digest)
    assert len(set(digests)) == 7
    assert locate_engine(request).request.precision == 'fp16'


@pytest.mark.usefixtures('api')
def test_a_network_that_fp16_does_not_hold_has_an_engine_in_fp32(
    cache: EngineCache, untrained_checkpoint: Path
) -> None:
    request = ServingRequest(untrained_checkpoint, 64, 128)
    half = locate_engine(request)
    cache.refuse(half.digest, PrecisionError('head.weight holds 1e+06, too large for fp16'))
    assert locate_engine(request).request.precision == 'fp32'
    with pytest.raises(
        RefusedEngineError, match=r'too large for fp16\): delete .*\.refused to try'
    ):
        locate_engine(dataclasses.replace(request, precision='fp16'))
    cache.refuse(half.digest, GpuContextLostError('GPU context lost'))
    with pytest.raises(RefusedEngineError, match='GPU context lost'):
        locate_engine(request)


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
