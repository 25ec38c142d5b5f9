"""Class groups: what the classes of a table mean to a robot, as a coarser table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """A group, the RGB colour it is drawn in, and the names of its classes (perhaps none)."""

    name: str = option(REQUIRED)
    color: tuple[int, int, int] = option(REQUIRED, low=0, high=255, allowed=ALLOWED_COLOR)
    classes: tuple[str, ...] = option(REQUIRED)


@dataclass(frozen=True)
class ClassGroups:
    """Groups of the classes of a taxonomy; every class is in one of them or ``ignored``.

    The place of a group in the list is its label. ``ignored`` classes become unlabelled.
    """

    name: str
    of: Taxonomy
    groups: tuple[Group, ...]
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = Counter(name for group in self.groups for name in group.classes)
        named.update(self.ignored)
        groups = Counter(group.name for group in self.groups)
        faults = {
            'groups of the same name': _repeated(groups),
            'groups that may not be called that (ignore is a key of its own)': [
                name for name in groups if name == 'ignore'
            ],
            'unknown classes': [name for name in named if name not in self.of.classes],
            'classes in more than one place': _repeated(named),
            'classes in no group (put them into one, or under ignore)': [
                name for name in self.of.classes if name not in named
            ],
        }
        found = [f'{fault}: {", ".join(names)}' for fault, names in faults.items() if names]
        if found:
            msg = f'groups {self.name!r} do not fit {self.of.name!r}: {"; ".join(found)}'
            raise GroupsError(msg)
        self.taxonomy  # noqa: B018 - a table that cannot be made is refused here, not at a frame

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The groups as classes: names and colours of the labels that :meth:`apply` returns."""
        return Taxonomy(
            self.name,
            tuple(group.name for group in self.groups),
            tuple(group.color for group in self.groups),
        )

    def apply(self, labels: Labels) -> Labels:
        """Return the group of every class in ``labels``, of the same shape.

        ``labels`` is (H, W) of the class taxonomy's ``label_dtype``, the result of the groups'
        (uint8 for up to 255 groups). Unlabelled stays unlabelled, as the groups' type says it.
        """
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
        """Read plain values, as YAML holds them; ``source`` names them in errors.

        Raises:
            GroupsError: a field is missing or malformed, or the groups do not fit ``of``.
            TaxonomyError: there are fewer than two groups, or a colour is none.
        """
        table = from_mapping(_Table, with_colors(values, 'groups'), source, GroupsError)
        return cls(table.name, of, table.groups, table.ignore)


@dataclass(frozen=True)
class _Table:
    """Class groups as YAML holds them."""

    name: str = option(REQUIRED)
    groups: tuple[Group, ...] = option(REQUIRED)
    ignore: tuple[str, ...] = option(())


def load_groups(source: str, of: Taxonomy) -> ClassGroups:
    """Load groups for a taxonomy: ``auto``, the name of built-in ones, or the user's YAML file.

    ``auto`` are the built-in ones of the taxonomy's own name.

    Raises:
        GroupsError: there are none of that name, the file cannot be read, or they do not fit.
        TaxonomyError: there are fewer than two groups, or a colour is none.
    """
    name = of.name if source == AUTO else source
    values, path = _SHIPPED.read(name, GroupsError)
    return ClassGroups.from_dict(values, of, path)


def _repeated(counts: Counter[str]) -> list[str]:
    return [name for name, count in counts.items() if count > 1]
