"""YAML that others wrote: plain values only, bounded before they are built, errors with their line."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.limits import MAX_YAML_BYTES, MAX_YAML_DEPTH, MAX_YAML_VALUES

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

MOST_DIGITS = 40


def read_yaml(path: Path | Traversable, what: str, error: type[LemoreError]) -> Any:
    """Return the plain values of a YAML file; ``what`` is what an error calls it.

    Raises:
        LemoreError: of the type ``error``; the file is missing, no YAML, or :func:`parse_yaml`
            refuses it.
    """
    try:
        if not path.is_file():  # a pipe or a device has no end
            msg = 'there is no such file'
            raise OSError(msg)  # noqa: TRY301 - as one that cannot be opened
        with path.open('rb') as file:
            content = file.read(MAX_YAML_BYTES + 1)
    except (OSError, ValueError) as reason:
        msg = f'{what} {path} cannot be read: {getattr(reason, "strerror", "") or reason}'
        raise error(msg) from reason
    return parse_yaml(content, f'{what} {path}', error)


def parse_yaml(content: bytes | str, source: str, error: type[LemoreError]) -> Any:
    """Return the plain values of YAML; ``source`` names it in errors.

    Raises:
        LemoreError: of the type ``error``; it is no YAML, too large or too deep, its aliases
            stand for too much, or a key stands twice.
    """
    # imported late: a GPU is measured where this package is absent
    import yaml

    try:
        if len(content) > MAX_YAML_BYTES:
            msg = f'it has more than {MAX_YAML_BYTES} bytes'
            raise ValueError(msg)  # noqa: TRY301 - as any other content
        text = content if isinstance(content, str) else content.decode('utf-8-sig')
        _check_events(text)
        return yaml.load(text, _loader())  # noqa: S506 - derived from the safe loader
    except Exception as reason:
        mark = getattr(reason, 'problem_mark', None)
        problem = getattr(reason, 'problem', None) or in_one_line(reason)
        where = f', line {mark.line + 1}' if mark else ''
        msg = f'{source} cannot be read{where}: {problem}'
        raise error(msg) from reason


def _check_events(text: str) -> None:
    """Refuse what would take long or much memory; an alias counts as all that it stands for.

    Raises:
        MarkedYAMLError: with the line.
    """
    import yaml

    sizes: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the values before it
    values = 0
    events: Any = yaml.parse(text, Loader=_loader())
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor] = values - before
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            values += 1
        elif isinstance(event, yaml.AliasEvent):
            # one within what it stands for has no end
            values += sizes.get(event.anchor, MAX_YAML_VALUES)
        if values > MAX_YAML_VALUES or len(open_nodes) > MAX_YAML_DEPTH:
            problem = (
                f'it holds more than {MAX_YAML_VALUES} values, aliases counted in full, '
                f'or more than {MAX_YAML_DEPTH} levels'
            )
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


@lru_cache(1)
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            if node.tag.endswith((':int', ':float')) and len(node.value) > MOST_DIGITS:
                # in base 60 they take time by the square of their length
                refuse(node, f'a number has more than {MOST_DIGITS} digits')
            try:
                return super().construct_object(node, deep=deep)
            except yaml.YAMLError:
                raise
            except Exception as error:  # noqa: BLE001 - a dozen kinds escape
                refuse(node, in_one_line(error))

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            known: set[tuple[str, str]] = set()
            for key, _ in getattr(node, 'value', ()):
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in known:
                        refuse(key, f'the key {key.value!r} stands twice')
                    known.add((key.tag, key.value))
            return super().construct_mapping(node, deep=deep)

    def refuse(node: Any, problem: str) -> NoReturn:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    return Loader
