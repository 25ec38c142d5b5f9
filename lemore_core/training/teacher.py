"""Logits of a larger network, from which a run learns beside the labels (Hinton et al., 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    from typing_extensions import Self


class TeacherError(LemoreError):
    """A teacher that cannot be read, or that does not give logits for the classes of the run."""


class Teacher:
    """An ONNX network of the run's classes.

    It takes normalised RGB (N, 3, H, W) float32, or RGB (N, H, W, 3) uint8 like files exported by
    this package, and returns logits with the classes at the second or the last place.

    Raises:
        TeacherError: the file is missing or unreadable.
    """

    def __init__(self, path: Path, classes: int) -> None:
        import onnxruntime

        self.path, self.classes = path, classes
        providers = onnxruntime.get_available_providers()
        try:
            self.session = onnxruntime.InferenceSession(path, providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no base
            msg = f'teacher {path} cannot be loaded, give an .onnx file: {error}'
            raise TeacherError(msg) from error
        source = self.session.get_inputs()[0]
        self.name = source.name
        self.takes_pixels = source.type == 'tensor(uint8)'
        sides = source.shape[1:3] if self.takes_pixels else source.shape[2:4]
        self.size = tuple(sides) if all(isinstance(side, int) for side in sides) else None
        self.batch = source.shape[0] if isinstance(source.shape[0], int) else 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the network with copies of the task, such as the moving average's."""
        del memo
        return self

    def __call__(self, pixels: Tensor, normalised: Tensor) -> Tensor:
        """Return logits (N, classes, h, w) float32 of any resolution.

        The images come in both forms: RGB (N, 3, H, W) uint8, and normalised float32.
        """
        images = pixels.float() if self.takes_pixels else normalised
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = functional.interpolate(images, self.size, mode='bilinear')
        if self.takes_pixels:
            images = images.round().to(torch.uint8).permute(0, 2, 3, 1)
        parts = torch.split(images.contiguous().cpu(), self.batch or len(images))
        outputs = [self.session.run(None, {self.name: part.numpy()})[0] for part in parts]
        logits = torch.from_numpy(np.concatenate(outputs)).to(pixels.device)
        if logits.dim() == 4 and logits.is_floating_point():
            if logits.shape[1] == self.classes:
                return logits.float()
            if logits.shape[-1] == self.classes:
                return logits.float().permute(0, 3, 1, 2)
        wanted = f'logits of {self.classes} classes (N, {self.classes}, h, w)'
        msg = f'teacher {self.path} returns {tuple(logits.shape)}, expected {wanted}'
        raise TeacherError(msg)
