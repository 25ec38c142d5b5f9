"""TensorRT and TensorRT for RTX: one Python API, two ways of building."""

from __future__ import annotations

import importlib
import importlib.util
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from lemore_core.inference.backend import BackendError
from lemore_core.inference.registry import TENSORRT_PACKAGES, how_to_install

TENSORRT, TENSORRT_RTX = TENSORRT_PACKAGES
OLDEST = 10  # the first with the calls that are used here; TensorRT for RTX counts from 1


class ComputeCapability(NamedTuple):
    """The generation of a GPU, such as 8.6."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ComputeCapability:
        """Read ``8.6`` or ``86``.

        Raises:
            BackendError: it is neither.
        """
        match = re.fullmatch(r'(\d{1,2})\.?(\d)', text)
        if match is None:
            msg = f'{text!r} is no compute capability: give one such as 8.6'
            raise BackendError(msg)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f'{self.major}.{self.minor}'


@dataclass(frozen=True)
class Library:
    """An imported module, ``TENSORRT`` or ``TENSORRT_RTX``; ``api`` is the module itself."""

    module: str
    api: Any

    @property
    def builds_ahead(self) -> bool:
        """Whether it is given a compute capability and needs no GPU.

        Its engine runs on every GPU of that capability, where its kernels are compiled. The other
        one times kernels on the GPU at hand, and its engine runs there.
        """
        return self.module == TENSORRT_RTX

    @property
    def pip_name(self) -> str:
        """What pip calls it."""
        return TENSORRT_PACKAGES[self.module]

    @property
    def version(self) -> str:
        """The version, in full: engines of any other are not loaded."""
        return str(self.api.__version__)

    @property
    def named_capabilities(self) -> tuple[ComputeCapability, ...]:
        """The compute capabilities that can be named to it, in rising order."""
        names = self.api.ComputeCapability.__members__
        found = (name.removeprefix('SM') for name in names if name.startswith('SM'))
        return tuple(sorted(ComputeCapability.parse(name) for name in found))

    def check(self, capability: ComputeCapability) -> None:
        """Refuse a compute capability for which it cannot build ahead.

        Raises:
            BackendError: it is not among those that can be named.
        """
        if capability not in self.named_capabilities:
            known = ', '.join(map(str, self.named_capabilities))
            msg = (
                f'{self.pip_name} {self.version} builds for the compute capabilities '
                f'{known}, not {capability}: on that GPU itself, {TENSORRT} may'
            )
            raise BackendError(msg)


def load_library(module: str) -> Library:
    """Import a library.

    Raises:
        BackendError: it is not installed, incomplete or too old.
    """
    name = TENSORRT_PACKAGES[module]
    if importlib.util.find_spec(module) is None:
        msg = f'{name} is not installed: {how_to_install(name)}'
        raise BackendError(msg)
    try:
        library = Library(module, importlib.import_module(module))
    except (ImportError, OSError) as error:
        msg = (
            f'{name} is installed but cannot be imported ({error}), do it again: '
            f'{how_to_install(name)}'
        )
        raise BackendError(msg) from error
    if not library.builds_ahead and int(library.version.split('.')[0]) < OLDEST:
        msg = f'{name} {library.version} is too old, {OLDEST} or newer is needed'
        raise BackendError(msg)
    return library


def library_for_gpu(capability: ComputeCapability) -> Library:
    """Return what builds for the GPU at hand and runs there: TensorRT, else the one for RTX.

    Raises:
        BackendError: neither can be used, with the reason for each.
    """
    reasons = []
    for module in TENSORRT_PACKAGES:
        try:
            library = load_library(module)
            if library.builds_ahead:
                library.check(capability)
        except BackendError as error:  # noqa: PERF203 - of two at most
            reasons.append(str(error))
        else:
            return library
    raise BackendError('; '.join(reasons))


def library_for_capability(capability: ComputeCapability) -> Library:
    """Return what builds for a named compute capability, whatever GPU is here.

    Raises:
        BackendError: it is not installed, or cannot build for that one.
    """
    library = load_library(TENSORRT_RTX)
    library.check(capability)
    return library


def installed_libraries() -> tuple[Library, ...]:
    """Return those that can be imported here."""
    found = []
    for module in TENSORRT_PACKAGES:
        with suppress(BackendError):
            found.append(load_library(module))
    return tuple(found)
