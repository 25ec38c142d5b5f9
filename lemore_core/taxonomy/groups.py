"""Group classes into a coarser table, such as drivable and obstacle, and mask them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import shown
from lemore_core.common.validation import REQUIRED, from_mapping, option
from lemore_core.common.yaml_file import ShippedFiles
from lemore_core.taxonomy.taxonomy import (
    ALLOWED_COLOR,
    Labels,
    Taxonomy,
    TaxonomyError,
    with_colors,
)

_SHIPPED = ShippedFiles(
    'lemore_core.taxonomy', 'groups', 'class groups', 'no class groups are called'
)
BUILT_IN_GROUPS = _SHIPPED.names
AUTO = 'auto'


class GroupsError(TaxonomyError):
    """A table of groups that does not exist, is malformed, or does not fit the classes."""


@dataclass(frozen=True)
class Group:
    """Name, RGB colour and class names (perhaps none) of a group."""

    name: str = option(REQUIRED)
    color: tuple[int, int, int] = option(REQUIRED, low=0, high=255, allowed=ALLOWED_COLOR)
    classes: tuple[str, ...] = option(REQUIRED)


@dataclass(frozen=True)
class ClassGroups:
    """Groups of a taxonomy's classes, by label; each class is in one, or ``ignored``."""

    name: str
    of: Taxonomy
    groups: tuple[Group, ...]
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        groups = Counter(group.name for group in self.groups)
        named = Counter([name for group in self.groups for name in group.classes])
        named.update(self.ignored)
        known = dict.fromkeys(self.of.classes)
        faults = {
            'groups of the same name': [name for name in groups if groups[name] > 1],
            'reserved names of groups (ignore is a key of its own)': groups.keys() & {'ignore'},
            'unknown classes': [name for name in named if name not in known],
            'classes in more than one place': [name for name in named if named[name] > 1],
            'classes in no group (put them into one, or under ignore)': [
                name for name in known if name not in named
            ],
        }
        found = [f'{fault}: {", ".join(names)}' for fault, names in faults.items() if names]
        if found:
            msg = f'groups {self.name!r} do not fit {self.of.name!r}: {"; ".join(found)}'
            raise GroupsError(msg)
        self.taxonomy  # noqa: B018 - a bad table is refused here, not at the first frame

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy of the labels that :meth:`apply` returns."""
        names = tuple(group.name for group in self.groups)
        return Taxonomy(self.name, names, tuple(group.color for group in self.groups))

    def apply(self, labels: Labels) -> Labels:
        """Return groups (H, W) of labels (H, W), each of its taxonomy's ``label_dtype``."""
        return self._table.take(labels)

    @cached_property
    def _table(self) -> NDArray[Any]:
        """The group of every label, (256 or 65536,)."""
        groups = self.taxonomy
        table: NDArray[Any] = np.full(self.of.unlabelled + 1, groups.unlabelled, groups.label_dtype)
        places = {name: place for place, name in enumerate(self.of.classes)}
        for label, group in enumerate(self.groups):
            table[[places[name] for name in group.classes]] = label
        return table

    @classmethod
    def from_dict(cls, values: Any, of: Taxonomy, source: str) -> ClassGroups:
        """Read plain values of YAML; ``source`` names them in errors."""
        table = from_mapping(_Table, with_colors(values, 'groups'), source, GroupsError)
        return cls(table.name, of, table.groups, table.ignore)


@dataclass(frozen=True)
class _Table:
    """Fields of a groups file."""

    name: str = option(REQUIRED)
    groups: tuple[Group, ...] = option(REQUIRED)
    ignore: tuple[str, ...] = option(())


def load_groups(source: str, of: Taxonomy) -> ClassGroups:
    """Load built-in groups by name (``auto`` for the taxonomy's), or those of a YAML file.

    Raises:
        GroupsError: there are none of that name, the file cannot be read, or they do not fit.
        TaxonomyError: there are fewer than two groups, or a colour is none.
    """
    name = of.name if source == AUTO else source
    values, path = _SHIPPED.read(name, GroupsError)
    return ClassGroups.from_dict(values, of, path)


def mask_tables(
    names: Iterable[str], classes: Taxonomy, groups: ClassGroups | None = None
) -> Mapping[str, NDArray[np.uint8]]:
    """Return for each name a table of the mask's value by label: 255 inside, 0 elsewhere.

    Labels and names are those of ``groups``; without groups labels are of ``classes``, names of
    classes or of the data set's built-in groups. The tables are (256,) or (65536,) uint8;
    ``table.take(labels)`` is the mask.
    """
    names = tuple(dict.fromkeys(names))
    if not names:
        return {}  # often called, and groups are read from a file
    members: dict[str, tuple[str, ...]]
    if groups is None:
        labels, members = classes, {name: (name,) for name in classes.classes}
        with suppress(TaxonomyError):  # a table of the user's own has no built-in groups
            members |= {group.name: group.classes for group in load_groups(AUTO, classes).groups}
    else:
        labels = groups.taxonomy
        members = {group.name: (group.name,) * bool(group.classes) for group in groups.groups}
    tables = {}
    for name in names:
        if not members.get(name):
            what = 'no class belongs to it' if name in members else 'nothing is called so'
            usable = ', '.join(sorted(other for other, of in members.items() if of))
            msg = f'there is no mask of {shown(name)}: {what}, there are: {usable}'
            raise GroupsError(msg)
        table = np.zeros(labels.unlabelled + 1, np.uint8)
        table[[labels.classes.index(one) for one in members[name]]] = 255
        tables[name] = table
    return tables
