"""Binary masks of a class, or of a group of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from lemore_core.taxonomy.groups import AUTO, ClassGroups, GroupsError, load_groups
from lemore_core.taxonomy.taxonomy import Taxonomy, TaxonomyError


def mask_tables(
    names: Iterable[str], classes: Taxonomy, groups: ClassGroups | None = None
) -> Mapping[str, NDArray[np.uint8]]:
    """Return for each name the mask's value at every label: 255 where it is meant, 0 elsewhere.

    Labels are those of ``groups``, and names too; without groups labels are of ``classes``, and
    names those of classes or of the built-in groups of the data set. The tables are (256,) or
    (65536,) uint8; ``table.take(labels)`` is the mask.

    Raises:
        GroupsError: nothing is called so, or no class belongs to it.
    """
    names = tuple(names)
    if not names:
        return {}  # settings are worked out often, and groups are read from a file
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
            msg = f'there is no mask of {name!r}: {what}, there are: {usable}'
            raise GroupsError(msg)
        table = np.zeros(labels.unlabelled + 1, np.uint8)
        table[[labels.classes.index(one) for one in members[name]]] = 255
        tables[name] = table
    return tables
