"""A trained network that a smaller one learns from (Hinton et al., 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    from typing_extensions import Self


class TeacherError(LemoreError):
    """A teacher that cannot be read, or that does not give logits for the classes of the run."""


class Teacher(Protocol):
    """Gives logits of images."""

    def __call__(self, pixels: Tensor, normalised: Tensor) -> Tensor:
        """Map images to logits (N, classes, h, w) float32 of any resolution.

        The images come in both forms: RGB (N, 3, H, W) uint8, and normalised float32.
        """


def load_teacher(path: Path, classes: int) -> Teacher:
    """Load a teacher: an ONNX file, or a TorchScript file (``.pt``, ``.ts``).

    It takes normalised RGB (N, 3, H, W) float32, or RGB (N, H, W, 3) uint8 as files exported by
    this package do, and returns logits with the classes at the second or the last place.

    Raises:
        TeacherError: the file is missing or unreadable, or has another form.
    """
    if not path.is_file():
        msg = f'there is no teacher {path}'
        raise TeacherError(msg)
    if path.suffix == '.onnx':
        return _OnnxTeacher(path, classes)
    return _ScriptTeacher(path, classes)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the divergence of the softened probabilities, a mean over places, times T squared.

    ``student`` is (N, C, h, w); the teacher's logits are brought to its resolution.
    """
    teacher = functional.interpolate(teacher, student.shape[-2:], mode='bilinear')
    divergence = functional.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        reduction='none',
        log_target=True,
    )
    return divergence.sum(1).mean() * temperature**2


class _Frozen:
    """A teacher never changes, so what copies a task (the moving average does) shares it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        del memo
        return self


class _OnnxTeacher(_Frozen):
    def __init__(self, path: Path, classes: int) -> None:
        import onnxruntime

        self.path = path
        self.classes = classes
        try:
            self.session = onnxruntime.InferenceSession(
                path, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            msg = f'teacher {path} cannot be loaded: {error}'
            raise TeacherError(msg) from error
        source = self.session.get_inputs()[0]
        self.name = source.name
        self.takes_pixels = source.type == 'tensor(uint8)'
        sides = source.shape[1:3] if self.takes_pixels else source.shape[2:4]
        self.size = tuple(sides) if all(isinstance(side, int) for side in sides) else None
        self.fixed_batch = isinstance(source.shape[0], int) and source.shape[0] == 1

    def __call__(self, pixels: Tensor, normalised: Tensor) -> Tensor:
        images = pixels.float() if self.takes_pixels else normalised
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = functional.interpolate(images, self.size, mode='bilinear')
        if self.takes_pixels:
            images = images.round().to(torch.uint8).permute(0, 2, 3, 1)
        values = images.contiguous().cpu().numpy()
        parts = [values[i : i + 1] for i in range(len(values))] if self.fixed_batch else [values]
        outputs = [self.session.run(None, {self.name: part})[0] for part in parts]
        logits = torch.from_numpy(np.concatenate(outputs)).to(pixels.device)
        return _as_logits(logits, self.classes, self.path)


class _ScriptTeacher(_Frozen):
    def __init__(self, path: Path, classes: int) -> None:
        self.path = path
        self.classes = classes
        try:
            self.module = torch.jit.load(path, map_location='cpu').eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            msg = f'teacher {path} is no ONNX and no TorchScript file: {error}'
            raise TeacherError(msg) from error

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, normalised: Tensor) -> Tensor:
        del pixels
        output = self.module.to(normalised.device)(normalised)
        return _as_logits(_first_tensor(output), self.classes, self.path).clone()


def _first_tensor(output: Any) -> Any:
    if isinstance(output, dict):
        return output.get('out', next(iter(output.values())))
    return output[0] if isinstance(output, list | tuple) else output


def _as_logits(output: Any, classes: int, path: Path) -> Tensor:
    if isinstance(output, Tensor) and output.dim() == 4 and output.is_floating_point():
        if output.shape[1] == classes:
            return output.float()
        if output.shape[-1] == classes:
            return output.float().permute(0, 3, 1, 2)
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    msg = (
        f'teacher {path} returns {shape}, expected logits of {classes} classes (N, {classes}, h, w)'
    )
    raise TeacherError(msg)
