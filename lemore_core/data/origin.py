"""Record the origin of a data set: its images' publishers and licences, and its teacher."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lemore_core.common.validation import REQUIRED, from_mapping, option
from lemore_core.common.yaml_file import read_yaml
from lemore_core.data.samples import DataError

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
class TeacherRecord:
    """The network that labelled the images."""

    name: str = option(REQUIRED)
    sha256: str = option(REQUIRED)
    licence: str = option(REQUIRED)


@dataclass(frozen=True)
class Origin:
    """Sources of images, and their teacher if there was one."""

    sources: tuple[ImageSource, ...] = option(REQUIRED)
    teacher: TeacherRecord | None = None

    @property
    def licence(self) -> str:
        """The terms of everything that weights trained on the data set come from."""
        terms = [f'{one.path}: {one.licence}' for one in self.sources]
        if self.teacher:
            terms.append(f'teacher {self.teacher.name}: {self.teacher.licence}')
        return '; '.join(terms)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without fields that are not set."""
        sources = [{k: v for k, v in asdict(one).items() if v} for one in self.sources]
        return {'sources': sources} | ({'teacher': asdict(self.teacher)} if self.teacher else {})


def read_origin(path: Path) -> Origin:
    """Read a YAML file of sources, or the record in a data set."""
    return from_mapping(Origin, read_yaml(path, 'sources', DataError), str(path), DataError)
