"""Read class tables, and convert masks on disk to labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemore_core.common.errors import LemoreError, shown
from lemore_core.common.files import at_home
from lemore_core.common.validation import REQUIRED, from_mapping, option
from lemore_core.common.yaml_file import ShippedFiles, read_text

_SHIPPED = ShippedFiles('lemore_core.taxonomy', '', 'taxonomy', 'no dataset is called')
BUILT_IN = _SHIPPED.names
UNLABELLED_8BIT = 255
UNLABELLED_16BIT = 65535

COUNT_ALLOWED = 'it needs 2 to 65534: the background is one too'
NAMED_AT_MOST = 16  # unknown ids or colours in an error

KEYS = {'name', 'names', 'classes', 'ignored'}  # of a table: without one it is a table's classes
YOLO_KEYS = {'nc', 'path', 'train', 'val'}
GENERIC_NAMES = ('classes', 'config', 'data', 'labels', 'names')  # of files: the folder's says more
# lines of text: an id, a colour and a name; an id, a name and a colour; an id and a name; all bounded,
# or a long line takes minutes
_GAP = r'[\s:,;]{1,9}'
_ID, _COLOR = rf'(?P<id>\d{{1,9}}){_GAP}', rf'(?P<color>\d{{1,9}}(?:{_GAP}\d{{1,9}}){{2}})'
_LINES = (
    rf'(?:{_ID})?{_COLOR}{_GAP}(?P<name>\D.*)',
    rf'(?:{_ID})?(?P<name>\S.{{,99}}?){_GAP}{_COLOR}(?:[\s:,;].*)?',
    rf'{_ID}(?P<name>.+)',
)

Color = tuple[int, int, int]
ALLOWED_COLOR = "[red, green, blue] of 0 to 255, or '#rrggbb', or a name such as red"
Labels = NDArray[np.uint8] | NDArray[np.uint16]


class TaxonomyError(LemoreError):
    """A class table that does not exist or is malformed."""


@dataclass(frozen=True)
class Taxonomy:
    """Names and RGB colours by class id (0, 1, …), and the ids in the data set's masks on disk.

    ``ignored`` are the ids on disk that stand for "unlabelled". ``ids`` holds for each class its
    ids on disk; empty means that they are the class ids themselves.
    """

    name: str
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    ignored: tuple[int, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for fault in _faults(self):
            msg = f'taxonomy {self.name!r}{fault}'
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

    @property
    def disk_ids(self) -> tuple[tuple[int, ...], ...]:
        """The ids on disk of each class; the first is the one to write."""
        return self.ids or tuple((index,) for index in range(len(self.classes)))

    @cached_property
    def of_labels(self) -> Taxonomy:
        """The same classes, for masks of class ids instead of the data set's own."""
        return replace(self, ids=(), ignored=())

    def encode(self, mask: NDArray[np.integer[Any]]) -> Labels:
        """Return the class ids of a mask with ids on disk; ignored ids become `unlabelled`.

        ``mask`` is (H, W) of any integer type, the result (H, W) of ``label_dtype``. 255 (65535)
        on disk is unlabelled too, unless it is a class's id; other unknown ids are refused.
        """
        table = self._class_by_id
        inside = mask
        if not np.can_cast(mask.dtype, np.uint16):
            # an id that no table entry can have stands for all beyond the table
            inside = np.where((mask < 0) | (mask >= len(table)), len(table), mask)
        labels = table.take(inside, mode='clip')
        if labels.size and labels.min() < 0:
            strangers = np.unique(mask[labels < 0]).tolist()
            known = [value for ids in self.disk_ids for value in ids]
            msg = (
                f'the mask holds ids {_some(strangers)}, unknown to {self.name!r}, whose classes '
                f'have ids from {min(known)} to {max(known)}: write the ids into the class table, '
                f'such as {{{strangers[0]}: road}}, or under its ignored; or save masks without smoothed edges or JPEG'
            )
            raise TaxonomyError(msg)
        return self._as_labels(labels)

    def encode_colors(self, mask: NDArray[np.uint8]) -> Labels:
        """Return the class ids of an RGB mask (H, W, 3) in this table's colours, as `encode` does.

        Black is `unlabelled`, unless it is a class's colour.
        """
        if mask.dtype != np.uint8:
            msg = f'the mask has colors of {mask.dtype}, those of {self.name!r} have 8 bits'
            raise TaxonomyError(msg)
        if len(set(self.colors)) < len(self.colors):
            msg = f'{self.name!r} has classes of one color, its masks must be ids, not colors'
            raise TaxonomyError(msg)
        known = dict.fromkeys([(0, 0, 0)], self.unlabelled)
        known |= {color: index for index, color in enumerate(self.colors)}
        codes = _packed(np.array(list(known), np.uint8))
        order = np.argsort(codes)
        found = _packed(mask)
        places = order[np.searchsorted(codes[order], found).clip(max=len(codes) - 1)]
        strange = codes[places] != found
        if strange.any():
            colors = np.unique(mask[strange], axis=0).tolist()
            msg = (
                f'the mask holds colors {_some(colors)}, unknown to {self.name!r}: write the '
                f'colors into the class table, such as {{road: {colors[0]}}}, or save masks '
                'without smoothed edges or JPEG'
            )
            raise TaxonomyError(msg)
        return self._as_labels(np.array(list(known.values()))[places])

    def _as_labels(self, values: NDArray[Any]) -> Labels:
        is_small = self.label_dtype is np.uint8
        return values.astype(np.uint8) if is_small else values.astype(np.uint16)

    @cached_property
    def _class_by_id(self) -> NDArray[np.int32]:
        # one entry more than there are ids: what lies beyond is clipped to it
        table = np.full(UNLABELLED_16BIT + 2, -1, np.int32)
        table[self.unlabelled] = self.unlabelled
        for index, ids in enumerate(self.disk_ids):
            table[list(ids)] = index
        table[list(self.ignored)] = self.unlabelled
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and YAML hold."""
        classes: list[dict[str, Any]] = [
            {'name': name, 'color': list(color)}
            for name, color in zip(self.classes, self.colors, strict=True)
        ]
        for row, ids in zip(classes, self.ids, strict=False):
            row.update({'id': ids[0]} if len(ids) == 1 else {'ids': list(ids)})
        return {'name': self.name, 'classes': classes, 'ignored': list(self.ignored)}

    @classmethod
    def from_dict(cls, values: Any, source: str) -> Taxonomy:
        """Read plain values of :meth:`to_dict`, or of a short form; ``source`` names them in errors."""
        fields = _written_out(values, source)
        if not isinstance(fields, Mapping):
            msg = f'{source} is {shown(values)}, allowed: names, such as [background, person]'
            raise TaxonomyError(msg)
        table = from_mapping(_Table, fields, source, TaxonomyError)
        places = tuple((index,) for index in range(len(table.classes)))
        ids = tuple(
            one.ids if one.ids is not None else place if one.id is None else (one.id,)
            for place, one in zip(places, table.classes, strict=True)
        )
        names = tuple(one.name for one in table.classes)
        colors = tuple(one.color for one in table.classes)
        return cls(table.name, names, colors, table.ignored, () if ids == places else ids)


@dataclass(frozen=True)
class _Class:
    """Fields of a class in a taxonomy file."""

    name: str = option(REQUIRED)
    color: tuple[int, int, int] = option(REQUIRED, low=0, high=255, allowed=ALLOWED_COLOR)
    id: int | None = option(None, low=0, high=UNLABELLED_16BIT)
    ids: tuple[int, ...] | None = option(None, low=0, high=UNLABELLED_16BIT)


@dataclass(frozen=True)
class _Table:
    """Fields of a taxonomy file."""

    name: str = option(REQUIRED)
    classes: tuple[_Class, ...] = option(
        REQUIRED, allowed='names, or entries such as {name: road, color: [128, 64, 128], id: 7}'
    )
    ignored: tuple[int, ...] = option((), low=0, high=UNLABELLED_16BIT)


def _written_out(values: Any, source: str) -> Any:
    """Return the fields of a table for its short forms: names, ids with names, names with colours."""
    if isinstance(values, Mapping) and 'id2label' in values:
        values = {'classes': values['id2label']}  # config.json of transformers
    if isinstance(values, list) or (isinstance(values, Mapping) and not KEYS & set(values)):
        values = {'classes': values}
    if not isinstance(values, Mapping):
        return values
    if 'names' in values and 'classes' not in values:
        is_yolo = not YOLO_KEYS.isdisjoint(values)  # it has keys of its tools
        kept = {key: value for key, value in values.items() if key in KEYS or not is_yolo}
        values = {'classes': kept.pop('names'), **kept}
    rows = values.get('classes')
    if isinstance(rows, Mapping):
        rows = [{key: value} for key, value in rows.items()]
    if not isinstance(rows, list):
        return values
    if len(rows) > UNLABELLED_16BIT:  # before seconds are spent on each ten thousand
        msg = f'{source} has {len(rows)} classes, {COUNT_ALLOWED}'
        raise TaxonomyError(msg)
    path = Path(source)
    folder = path.absolute().parent.name or path.stem
    name = folder if path.stem in GENERIC_NAMES else path.stem
    rows = [_with_color(_row(entry)) for entry in rows]
    return {'name': name, **values, 'classes': [*_colored(rows)]}


def _row(entry: Any) -> Any:
    """Return the fields of a name, ``id: name``, ``name: id``, ``name: colour``, or of fields."""
    if isinstance(entry, str):
        return {'name': entry}
    if not isinstance(entry, Mapping) or len(entry) != 1 or 'name' in entry:
        return entry
    ((key, value),) = entry.items()
    if isinstance(key, str) and key.isdecimal() and isinstance(value, str):
        key = int(key)  # JSON has no other keys than text
    own, other = ('id', 'name') if isinstance(key, int) else ('name', 'color')
    if isinstance(value, Mapping):
        return {own: key, **value}
    if own == 'name' and isinstance(value, int):
        other = 'id'
    return {own: key} if value is None else {own: key, other: value}


def _rows_of_text(text: str) -> list[Any]:
    """Return a row for each line: a name, ``7 name``, ``name,red,green,blue`` or as CVAT writes it."""
    lines = [line.strip() for line in text.splitlines()]
    # labelme's first line has the id -1
    lines = [line for line in lines if line and line[0] != '#' and line != '__ignore__']
    for pattern in _LINES:
        found = [re.fullmatch(pattern, line) for line in lines]
        if found and not found[0] and re.search('[,;]', lines[0]):
            del found[0]  # the names of the columns
        if found and all(found):
            return [_row_of(match.groupdict()) for match in found if match]
    return lines


def _row_of(fields: Mapping[str, str | None]) -> dict[str, Any]:
    row: dict[str, Any] = {key: value for key, value in fields.items() if value}
    if 'id' in row:
        row['id'] = int(row['id'])
    if 'color' in row:
        row['color'] = [*map(int, re.findall(r'\d+', row['color']))]
    return row


def _colored(rows: list[Any]) -> Iterator[Any]:
    """Yield the rows, those without a colour with the next of PASCAL VOC's that no other has."""
    taken = {str(row['color']) for row in rows if isinstance(row, Mapping) and 'color' in row}
    names = [row.get('name') for row in rows[:1] if isinstance(row, Mapping)]
    # that of the background is black, as in the masks of VOC, labelme and CVAT
    begin = 0 if str(*names).strip('_').lower() == 'background' else 1
    free = (color for color in map(voc_color, count(begin)) if str(color) not in taken)
    for row in rows:
        is_bare = isinstance(row, Mapping) and 'color' not in row
        yield {**row, 'color': next(free)} if is_bare else row


def voc_color(index: int) -> list[int]:
    """Return a colour of the PASCAL VOC palette: each third bit of the index, the highest first."""
    return [
        sum((index >> (3 * k + channel) & 1) << (7 - k) for k in range(8)) for channel in range(3)
    ]


def with_colors(values: Any, rows: str) -> Any:
    """Return plain values with the colours of ``rows`` as lists, and ``colour`` as ``color``."""
    if not isinstance(values, Mapping) or not isinstance(values.get(rows), list | tuple):
        return values
    return {**values, rows: [_with_color(entry) for entry in values[rows]]}


def _with_color(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    names = {'colour': 'color'} if 'color' not in entry else {}
    entry = {names.get(name, name): value for name, value in entry.items()}
    color = entry.get('color')
    if isinstance(color, str):
        from PIL import ImageColor  # late: a GPU is measured where this package is absent

        with suppress(ValueError):
            entry['color'] = list(ImageColor.getrgb(color)[:3])
    return entry


def _faults(taxonomy: Taxonomy) -> Iterator[str]:
    """Yield the faults of a table, to follow its name in an error."""
    count = len(taxonomy.classes)
    if not 2 <= count < UNLABELLED_16BIT:
        yield f' has {count} classes, {COUNT_ALLOWED}'
    for name, number in Counter(taxonomy.classes).items():
        if number > 1 or not name.strip():
            yield f' has {number} classes called {name!r}: give each a name of its own'
    if len(taxonomy.colors) != count:
        yield f' has {count} classes but {len(taxonomy.colors)} colors'
    for name, color in zip(taxonomy.classes, taxonomy.colors, strict=False):
        if len(color) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in color):
            yield f': color of {name!r} is {color}, it must be three integers from 0 to 255'
    if taxonomy.ids and len(taxonomy.ids) != count:
        yield f' has {count} classes but ids for {len(taxonomy.ids)}'
    yield from _id_faults(taxonomy)


def _id_faults(taxonomy: Taxonomy) -> Iterator[str]:
    # without ids of its own a table may ignore one of its classes, as older checkpoints do
    owners = dict.fromkeys(taxonomy.ignored if taxonomy.ids else (), 'ignored')
    for name, ids in zip(taxonomy.classes, taxonomy.ids, strict=False):
        if not ids:
            yield f': {name!r} has no id'
        for value in ids:
            if value in owners:
                yield f': the id {value} of {name!r} is that of {owners[value]!r} too'
            owners[value] = name
    for value in (*taxonomy.ignored, *owners):
        if not 0 <= value <= UNLABELLED_16BIT:
            yield f': the id {value} is not within 0 to 65535'


def _packed(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return RGB colours (…, 3) as one number each, (…)."""
    wide = colors.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _some(values: list[Any]) -> str:
    more = len(values) - NAMED_AT_MOST
    return f'{values[:NAMED_AT_MOST]}' + (f' and {more} more' if more > 0 else '')


def load_taxonomy(name: str) -> Taxonomy:
    """Load a built-in taxonomy by name, or the user's own: a YAML file, or a .txt or .csv of lines.

    Raises:
        TaxonomyError: there is no such table, or it is malformed.
    """
    if Path(name).suffix in ('.txt', '.csv'):
        rows = _rows_of_text(read_text(at_home(name), 'taxonomy', TaxonomyError))
        strange = [row for row in map(_row, rows) if re.search('[,;]', row['name'])]
        if Path(name).suffix == '.csv' and strange:
            msg = (
                f'{name} has the line {shown(strange[0]["name"])}: write 7,road or road,128,64,128'
            )
            raise TaxonomyError(msg)
        return Taxonomy.from_dict(rows, name)
    return Taxonomy.from_dict(*_SHIPPED.read(name, TaxonomyError))
