"""Record the origin of a data set: its images' publishers and licences, and its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from lemore_core.common.files import write_whole
from lemore_core.common.validation import REQUIRED, from_mapping, option
from lemore_core.common.yaml_file import read_yaml
from lemore_core.data.readers import DataError

ORIGIN = 'origin.yaml'
UNKNOWN = 'unknown: the terms of the training data apply'


@dataclass(frozen=True)
class ImageSource:
    """Images to learn from: their path, licence, and where they are published.

    ``drive`` is the drive of all of them; without it their names or files decide.
    """

    path: str = option(REQUIRED)
    licence: str = option(UNKNOWN)
    repository: str = option('')
    commit: str = option('')
    drive: str = option('', pattern='[A-Za-z0-9-]*', allowed='letters, digits and -')
    every: int | None = option(None, 'take every n-th image', low=1)


@dataclass(frozen=True)
class Origin:
    """Sources of images, and the teacher that labelled them: its name, sha256 and licence."""

    sources: tuple[ImageSource, ...] = option(REQUIRED)
    teacher: Mapping[str, str] = option({})

    @property
    def licence(self) -> str:
        """The terms of everything that weights trained on the data set come from."""
        terms = [f'{one.path}: {one.licence}' for one in self.sources]
        if self.teacher:
            terms.append(f'teacher {self.teacher["name"]}: {self.teacher["licence"]}')
        return '; '.join(terms)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without fields that are not set."""
        sources = [{k: v for k, v in asdict(one).items() if v} for one in self.sources]
        return {'sources': sources, **({'teacher': dict(self.teacher)} if self.teacher else {})}


def read_origin(path: Path) -> Origin:
    """Read a YAML file of sources, or the record in a data set.

    Raises:
        DataError: the file cannot be read or is malformed.
    """
    origin = from_mapping(Origin, read_yaml(path, 'sources', DataError), str(path), DataError)
    if origin.teacher and origin.teacher.keys() != {'name', 'sha256', 'licence'}:
        msg = f'{path}: teacher has {", ".join(origin.teacher)}, expected name, sha256 and licence'
        raise DataError(msg)
    return origin


def write_origin(folder: Path, origin: Origin) -> None:
    """Record the origin in a data set's folder, unless it is there.

    Raises:
        OSError: the file cannot be written.
    """
    text = yaml.safe_dump(origin.to_dict(), sort_keys=False, allow_unicode=True)
    path = folder / ORIGIN
    if not path.is_file() or path.read_text('utf-8') != text:
        write_whole(path, text)
