"""A class table and its reader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lemore_core.errors import LemoreError

FOLDER = Path(__file__).parent
BUILT_IN = tuple(sorted(path.stem for path in FOLDER.glob('*.yaml')))
UNLABELLED_8BIT = 255
UNLABELLED_16BIT = 65535

Color = tuple[int, int, int]


class TaxonomyError(LemoreError):
    """A class table that does not exist or does not say what it must."""


@dataclass(frozen=True)
class Taxonomy:
    """Names and RGB colours by class id (0, 1, …).

    ``ignored`` are the ids that stand for "unlabelled" in the data set's masks on disk.
    """

    name: str
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) < UNLABELLED_16BIT:
            msg = f'taxonomy {self.name!r} has {len(self.classes)} classes, it needs 2 to 65534'
            raise TaxonomyError(msg)
        if len(self.colors) != len(self.classes):
            msg = (
                f'taxonomy {self.name!r} has {len(self.classes)} classes '
                f'but {len(self.colors)} colors'
            )
            raise TaxonomyError(msg)
        for name, color in zip(self.classes, self.colors, strict=True):
            if len(color) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in color):
                msg = (
                    f'taxonomy {self.name!r}: color of {name!r} is {color}, '
                    'it must be three integers from 0 to 255'
                )
                raise TaxonomyError(msg)

    @property
    def label_dtype(self) -> type[np.uint8 | np.uint16]:
        """uint8 for up to 255 classes (one value is left for unlabelled), else uint16."""
        return np.uint8 if len(self.classes) <= UNLABELLED_8BIT else np.uint16

    @property
    def unlabelled(self) -> int:
        """The label that means "no class": 255, or 65535 in a 16-bit image."""
        return int(np.iinfo(self.label_dtype).max)

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """RGB colours by label, (256 or 65536, 3) uint8; what is no class is black."""
        table = np.zeros((self.unlabelled + 1, 3), np.uint8)
        table[: len(self.colors)] = self.colors
        table.flags.writeable = False
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and YAML hold."""
        return {
            'name': self.name,
            'classes': [
                {'name': name, 'color': list(color)}
                for name, color in zip(self.classes, self.colors, strict=True)
            ],
            'ignored': list(self.ignored),
        }

    @classmethod
    def from_dict(cls, values: Any, source: str) -> Taxonomy:
        """Read what :meth:`to_dict` wrote; ``source`` names it in errors.

        Raises:
            TaxonomyError: a field is missing, malformed or out of bounds.

        """
        try:
            return cls(
                name=str(values['name']),
                classes=tuple(str(entry['name']) for entry in values['classes']),
                colors=tuple(tuple(entry['color']) for entry in values['classes']),
                ignored=tuple(int(value) for value in values.get('ignored', ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = (
                f'{source} is no taxonomy ({type(error).__name__}: {error}): it needs name and '
                'classes, each class with name and color [r, g, b]'
            )
            raise TaxonomyError(msg) from error


def load_taxonomy(name: str) -> Taxonomy:
    """Load a built-in taxonomy by name, or the user's own from a YAML file.

    Raises:
        TaxonomyError: there is no such table, or it is malformed.

    """
    path = FOLDER / f'{name}.yaml' if name in BUILT_IN else Path(name)
    if path.suffix not in ('.yaml', '.yml'):
        msg = (
            f'no dataset is called {name!r}: give one of {", ".join(BUILT_IN)}, '
            'or the path of a .yaml file with your own classes'
        )
        raise TaxonomyError(msg)
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f'taxonomy {path} cannot be read: {error}'
        raise TaxonomyError(msg) from error
    return Taxonomy.from_dict(values, str(path))
