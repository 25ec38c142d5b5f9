"""Read YAML of users and of the package: plain values, bounded, errors with their line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.common.errors import LemoreError, in_one_line, refusing, shown
from lemore_core.common.files import at_home, read_regular
from lemore_core.common.limits import MAX_YAML_BYTES, MAX_YAML_DEPTH

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

YAML_SUFFIXES = ('.yaml', '.yml', '.json')  # JSON is YAML


def read_yaml(path: Path | Traversable, what: str, error: type[LemoreError]) -> Any:
    """Return the plain values of a YAML file, or raise ``error``; ``what`` names the file in it."""
    return parse_yaml(_read(path, what, error), f'{what} {path}', error)


def read_text(path: Path, what: str, error: type[LemoreError]) -> str:
    """Return a text file in UTF-8 of at most ``MAX_YAML_BYTES``, or raise ``error``."""
    content = _read(path, what, error)
    with refusing(f'{what} {path} is no text in UTF-8, save it so', error):
        return content.decode('utf-8-sig')


def _read(path: Path | Traversable, what: str, error: type[LemoreError]) -> bytes:
    with refusing(f'{what} {path} cannot be read', error):
        return read_regular(Path(str(path)), MAX_YAML_BYTES)


def parse_yaml(content: bytes | str, source: str, error: type[LemoreError]) -> Any:
    """Return the plain values of YAML, or raise ``error``: see docs/reliability.md for the bounds."""
    # imported late: a GPU is measured where this package is absent
    import yaml

    try:
        if len(content) > MAX_YAML_BYTES:
            msg = f'it has more than {MAX_YAML_BYTES} bytes'
            raise ValueError(msg)  # noqa: TRY301 - as any other content
        text = content if isinstance(content, str) else content.decode('utf-8-sig')
        depth = 0
        for event in yaml.parse(text, Loader=_loader()):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                _refuse(event, f'it has more than {MAX_YAML_DEPTH} levels')
            if isinstance(event, yaml.AliasEvent):
                _refuse(event, f'the alias *{event.anchor}: write its values instead')
        return yaml.load(text, _loader())  # noqa: S506 - derived from the safe loader
    except Exception as reason:
        mark = getattr(reason, 'problem_mark', None)
        problem = getattr(reason, 'problem', None) or in_one_line(reason)
        if isinstance(reason, UnicodeDecodeError):
            problem = 'it is no text in UTF-8, save it so'
        elif 'start any token' in problem:
            problem += ' (indent by spaces, not by tabs)'
        where = f', line {mark.line + 1}' if mark else ''
        msg = f'{source} cannot be read{where}: {problem}'
        raise error(msg) from reason


def dump_yaml(values: Any) -> str:
    """Return plain values as YAML, in their order."""
    import yaml

    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return text


@lru_cache(1)
def _loader() -> Any:
    """Return the safe loader, made to refuse a key that is given twice."""
    import yaml

    base: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            known: set[str] = set()
            for key, _ in getattr(node, 'value', ()):
                if isinstance(key, yaml.ScalarNode):
                    if key.value in known:
                        _refuse(key, f'the key {key.value!r} is given twice')
                    known.add(key.value)
            return super().construct_mapping(node, deep=deep)

    return Loader


def _refuse(place: Any, problem: str) -> None:
    """Raise an error of YAML at a node or event."""
    import yaml

    raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


@dataclass(frozen=True)
class ShippedFiles:
    """YAML files in a folder of a package; ``unknown`` begins the error for an unknown name."""

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
        """Return the plain values of a shipped file or of a user's own, and its path; or raise."""
        names = self.names
        if name in names:
            path = files(self.package) / self.folder / f'{name}.yaml'
            return read_yaml(path, self.what, error), str(path)
        if Path(name).suffix in YAML_SUFFIXES:
            return read_yaml(at_home(name), self.what, error), name
        msg = (
            f'{self.unknown} {shown(name)}: give one of {", ".join(names)}, or the path of a .yaml '
            'file with your own'
        )
        raise error(msg)
