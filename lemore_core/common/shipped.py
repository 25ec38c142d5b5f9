"""YAML files that the package ships, each by its name, beside a user's own by their paths."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lemore_core.common.errors import LemoreError
from lemore_core.common.yaml_file import read_yaml


@dataclass(frozen=True)
class ShippedFiles:
    """The YAML files in a folder of a package.

    ``what`` a file is, and ``unknown`` begins the error for a name that none has.
    """

    package: str
    folder: str
    what: str
    unknown: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files, without their suffix."""
        found = (files(self.package) / self.folder).iterdir()
        return tuple(sorted(one.name[:-5] for one in found if one.name.endswith('.yaml')))

    def read(self, name: str, error: type[LemoreError]) -> tuple[Any, str]:
        """Return the plain values of a shipped file, or of a user's own, and where they are from.

        Raises:
            LemoreError: of the type ``error``; there is no such file, or it is no YAML.
        """
        names = self.names
        shipped = files(self.package) / self.folder / f'{name}.yaml'
        if name not in names and Path(name).suffix not in ('.yaml', '.yml'):
            msg = (
                f'{self.unknown} {name!r}: give one of {", ".join(names)}, or the path of a .yaml '
                'file with your own'
            )
            raise error(msg)
        path = shipped if name in names else Path(name)
        return read_yaml(path, self.what, error), str(path)
