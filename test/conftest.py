"""Fixtures that every part of the suite uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lemore_core import checkpoint
from lemore_core.checkpoint import ModelCard
from lemore_core.cli.main import main
from lemore_core.export.export import export_onnx
from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.taxonomy import load_taxonomy

# The suite's tensors are small: threads would wait for each other longer than they compute. The
# variable is for trainings, which choose their own number without it, and for what tests start.
torch.set_num_threads(1)
os.environ['OMP_NUM_THREADS'] = '1'

ROOT = Path(__file__).parents[1]
CLIP = ROOT / 'config' / 'demo' / 'solid_white_right.mp4'


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is cached comes from this run and ends with it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


class Done(NamedTuple):
    """Result of a command: exit status, output, errors."""

    status: int
    out: str
    err: str

    def fails(self, *texts: str, status: int = 1) -> bool:
        return self.status == status and all(text in self.err for text in texts)

    def says(self, *texts: str) -> bool:
        return self.status == 0 and all(text in self.out for text in texts)

    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def lemore(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run ``lemore`` with arguments in this process."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        try:
            status = main([*map(str, arguments)])
        except SystemExit as end:
            status = int(end.code or 0)
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python with arguments, this project importable; processes are gone after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, environ: Mapping[str, str] | None = None, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | {'PYTHONPATH': path} | dict(environ or {}),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:  # with what it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def run_python(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run Python with arguments to its good end; return what it printed."""

    def run(*arguments: object, **environ: str) -> str:
        process = start_python(*map(str, arguments), environ=environ)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, out + err
        return out

    return run


@pytest.fixture(scope='session')
def camvid() -> Path:
    """CamVid's folder; it is not part of the repository."""
    root = Path(os.environ.get('LEMORE_CAMVID', ROOT.parent / 'shared' / 'data' / 'camvid'))
    if not root.is_dir():
        pytest.skip('CamVid is not here: set LEMORE_CAMVID to a folder with train/, val/, …annot/')
    return root


@pytest.fixture(scope='session')
def untrained_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CamVid network with random weights, for 96x128 pixels."""
    torch.manual_seed(0)
    taxonomy = load_taxonomy('camvid')
    config = variant('tiny', classes=len(taxonomy.classes), height=96, width=128)
    model = LeMoRe(config)
    for parameter in model.parameters():
        # an untrained classifier is near zero: labels would hang on rounding
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    card = ModelCard(name='untrained', config=config, taxonomy=taxonomy, licence='none')
    path = tmp_path_factory.mktemp('weights') / 'untrained.safetensors'
    checkpoint.save(path, card, model.state_dict())
    return path


@pytest.fixture(scope='session')
def exported(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained network as an ONNX file, which loads without PyTorch."""
    path = tmp_path_factory.mktemp('exported') / 'untrained.onnx'
    path.write_bytes(export_onnx(untrained_checkpoint, 96, 128))
    return path


@pytest.fixture(scope='session')
def clip_frames() -> list[NDArray[np.uint8]]:
    """Five frames of the demo clip over its whole length, BGR (540, 960, 3) uint8."""
    capture = cv2.VideoCapture(str(CLIP))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = {count * i // 5 for i in range(5)}
    frames = []
    for index in range(count):
        found, frame = capture.read()
        assert found, f'frame {index} of {CLIP} cannot be read'
        if index in wanted:
            frames.append(frame)
    return frames
