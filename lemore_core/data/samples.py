"""Labelled images on disk, and the readers of their masks and soft labels.

A mask reader takes a path and a taxonomy and returns class ids (H, W). It raises :class:`DataError`
for an unreadable file and :class:`TaxonomyError` for unknown ids.
"""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lemore_core.common.errors import LemoreError, refusing
from lemore_core.common.files import atomic_write
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.files import UNREAD, orientation, read_image
from lemore_core.taxonomy import ClassGroups, Labels, Taxonomy, TaxonomyError
from lemore_core.taxonomy.taxonomy import voc_color

MaskReader = Callable[[Path, Taxonomy], Labels]
SoftLabels = NDArray[np.uint8]

FORMATS = ('PNG', 'BMP', 'TIFF')
MASK_ENDS = ('.png', '.bmp', '.tif', '.tiff')
NO_MASKS = ('.jpg', '.jpeg', '.webp', '.gif', '.npy', '.npz', '.json', '.txt', '.xml')
BLACK, WHITE = 0, 255
BITS = np.array([[BLACK] * 3, [WHITE] * 3], np.uint8)
# greys of 2 and 4 bits, and the factor by which Pillow spreads them
PACKED = {'L;2': 85, 'L;4': 17}
INDEXED = ('P', 'PA')
LOOKED_AT = 500  # masks, to tell whether all are black and white
SUFFIX = '.npz'  # of soft labels
KEPT = 3  # classes of a place in soft labels


class DataError(LemoreError):
    """A data set with missing folders, images or masks, or with unreadable ones."""


def read_ids(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a one-channel image of dataset ids; of an image with a palette, the indices."""
    return taxonomy.encode(_one_channel(path, _read_mask(path)[0]))


def read_labels(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a one-channel image of class ids, 255 for unlabelled."""
    return read_ids(path, taxonomy.of_labels)


def read_ids_or_colors(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read an image of dataset ids, or an RGB image in the taxonomy's colours.

    A palette of the taxonomy's colours must give each colour the id of its class: a program that
    reduces a colour mask to a palette numbers the colours in its own order. Grey RGB in other
    colours than the taxonomy's holds ids.
    """
    values, palette = _read_mask(path)
    if values.ndim == 3:
        grey = _as_grey(values)
        greys = [BLACK, *(color[0] for color in taxonomy.colors if len(set(color)) == 1)]
        if grey is None or np.isin(np.unique(grey), greys).all():
            return taxonomy.encode_colors(values)
        values = grey
    mask = _one_channel(path, values)
    if palette is not None and _renumbers(mask, palette, taxonomy):
        msg = (
            f'{path} has a palette of the classes of {taxonomy.name!r}, but its indices are those '
            'of others: save it as RGB, or as grey values that are the ids'
        )
        raise DataError(msg)
    return taxonomy.encode(mask)


def read_black_and_white(path: Path, taxonomy: Taxonomy) -> Labels:
    """Read a mask of two classes: white is the class of white colour, else the second one."""
    shades = _shades(path)
    strange = np.setdiff1d(shades, (BLACK, WHITE))
    if strange.size:
        msg = (
            f'{path} holds {strange[:8].tolist()}, but other masks are black and white (0 and 255): '
            'if 255 is unlabelled there, write ignored: [255] into the class table'
        )
        raise DataError(msg)
    first, second = taxonomy.colors
    white = 0 if first == (WHITE,) * 3 or second == (BLACK,) * 3 else 1
    return np.where(shades == WHITE, white, 1 - white).astype(np.uint8)


def are_black_and_white(paths: Sequence[Path], taxonomy: Taxonomy) -> bool:
    """Return whether masks of two classes, whose ids are 0 and 1, are black and white instead.

    One with other values tells that 255 means unlabelled.
    """
    if len(taxonomy.classes) != 2 or taxonomy.ids or WHITE in taxonomy.ignored:
        return False
    has_white = False
    for path in paths[:: -(-len(paths) // LOOKED_AT) or 1]:
        with suppress(DataError):  # raised again when it is read
            found = set(np.unique(_shades(path)).tolist())
            if not found <= {BLACK, WHITE}:
                return False
            has_white |= WHITE in found
    return has_white


def _shades(path: Path) -> NDArray[np.integer[Any]]:
    """Return a mask's grey values; alpha in which it is drawn; indices of other palettes."""
    values, palette = _raw_mask(path)
    if palette is not None:
        colors = palette[:2, 0]
        is_plain = (palette[:2] == colors[:, None]).all() and set(colors.tolist()) == {BLACK, WHITE}
        return colors.take(values) if is_plain and values.max(initial=0) < 2 else values
    if values.ndim == 3 and values.shape[-1] in (2, 4):
        colors, alpha = values[..., :-1], values[..., -1]
        if (colors == colors[:1, :1]).all() and not alpha.all():
            return alpha
        values = colors
    if values.dtype == np.uint16 and set(np.unique(values).tolist()) <= {BLACK, 65535}:
        return values.astype(np.uint8)
    grey = _as_grey(values)
    return _one_channel(path, values if grey is None else grey)


def _as_grey(values: NDArray[Any]) -> NDArray[Any] | None:
    """Return one channel of an RGB image in which all are equal."""
    is_grey = values.ndim == 3 and bool((values == values[..., :1]).all())
    return values[..., 0] if is_grey else None


def _read_mask(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return numbers (H, W) or RGB (H, W, 3), and the palette (n, 3) of indexed numbers."""
    values, palette = _raw_mask(path)
    if values.ndim == 3 and values.shape[-1] in (2, 4):
        values = _without_alpha(values)
    return values, palette


def _without_alpha(values: NDArray[Any]) -> NDArray[Any]:
    """Return ids that lie in alpha, else the colours or greys, black where some are transparent."""
    colors, alpha = values[..., :-1], values[..., -1]
    if 0 < alpha.max() < WHITE and colors.min() == colors.max():
        return alpha
    if alpha.any():
        colors = colors * (alpha[..., None] != 0)
    return colors if colors.shape[-1] > 1 else colors[..., 0]


def _raw_mask(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return what :func:`_read_mask` does, with alpha as the last channel; bits have a palette."""
    reading = refusing(f'{path} is no readable image', DataError)
    with reading, Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            msg = f'{path} has {image.width}x{image.height} pixels, allowed: up to {MAX_PIXELS}'
            raise DataError(msg)
        if image.mode in INDEXED:
            palette = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
            return np.asarray(image.getchannel('P') if image.mode == 'PA' else image), palette
        if image.mode == '1':
            return np.asarray(image).astype(np.uint8), BITS
        spread = PACKED.get(str(image.tile[0].args), 1) if image.tile else 1
        values = np.asarray(image) // spread
        is_whole = values.dtype.kind == 'f' and not (values % 1).any()
        return values.astype(np.int64) if is_whole else values, None


def _one_channel(path: Path, values: NDArray[Any]) -> NDArray[np.integer[Any]]:
    if values.ndim != 2 or values.dtype.kind not in 'iu':
        found = f'{values.dtype} {values.shape}'
        msg = f'{path} is no one-channel label image but {found}: save it as 8-bit grey'
        raise DataError(msg)
    return values


def _renumbers(
    mask: NDArray[np.integer[Any]], palette: NDArray[np.uint8], taxonomy: Taxonomy
) -> bool:
    """Return whether a palette gives the taxonomy's colours to ids of other classes."""
    used = set(np.unique(mask).tolist()) - {taxonomy.unlabelled, *range(len(palette), 256)}
    colors = {index: tuple(palette[index].tolist()) for index in used}
    # classes may have one colour
    if all(list(color) == voc_color(index) for index, color in colors.items()):
        return False  # the palette of labelme's masks, whose indices are ids
    rows = list(zip(taxonomy.colors, taxonomy.disk_ids, strict=True))
    known = {(index, color) for color, ids in rows for index in ids}
    return set(colors.values()) <= set(taxonomy.colors) and not colors.items() <= known


def soft_labels(probabilities: NDArray[np.float32]) -> SoftLabels:
    """Return soft labels (2, n, h, w) uint8 of probabilities (h, w, classes + 1).

    The last probability is that of no class. Soft labels are the likeliest n classes of a place in
    their order, and 255 times their probabilities, 0 for no class; they cover the whole image.
    """
    known, none = probabilities[..., :-1], probabilities[..., -1:]
    classes = np.argsort(-known, -1, kind='stable')[..., :KEPT]
    values = np.take_along_axis(known, classes, -1)
    values = np.where(values[..., :1] < none, 0, values)
    both = np.stack([classes, np.rint(255 * values)]).astype(np.uint8)
    return np.ascontiguousarray(both.transpose(0, 3, 1, 2))


def write_soft(path: Path, soft: SoftLabels) -> None:
    """Write soft labels (2, n, h, w) uint8."""
    with atomic_write(path) as part:
        np.savez_compressed(part, classes=soft[0], probabilities=soft[1])


def read_soft(path: Path, classes: int) -> SoftLabels:
    """Return the soft labels (2, n, h, w) uint8 of a file, for a table of so many classes."""
    wrong = f'{path} holds no soft labels'
    with refusing(wrong, DataError):
        with zipfile.ZipFile(path) as file:
            size = sum(entry.file_size for entry in file.infolist())
        if size > MAX_PIXELS:
            msg = f'{wrong}: it has {size} bytes, allowed: up to {MAX_PIXELS}'
            raise DataError(msg)
        with np.load(path, allow_pickle=False) as arrays:
            soft = np.stack([arrays['classes'], arrays['probabilities']])
    if soft.dtype != np.uint8 or soft.ndim != 4 or not soft.size or soft[0].max() >= classes:
        msg = (
            f'{wrong}: {soft.dtype} {soft.shape}, expected uint8 (2, n, h, w) of {classes} classes'
        )
        raise DataError(msg)
    return np.asarray(soft, np.uint8)


@dataclass(frozen=True)
class Sample:
    """Paths of an image, its mask and soft labels (if any), in the classes of ``taxonomy``.

    ``reader`` decodes the mask. An image that cannot be read is an
    :class:`~lemore_core.images.files.ImageFileError`, a mask, or one not in these classes, a
    :class:`DataError`.
    """

    image: Path
    mask: Path
    taxonomy: Taxonomy
    reader: MaskReader = read_ids
    soft: Path | None = None

    @property
    def missing(self) -> str:
        """An error that names the missing file, '' if both are there."""
        if not self.image.is_file():
            others = _beside(self.image, self.mask, UNREAD)
            unread = f': {others[0]} is not read, convert it to .png or .jpg' if others else ''
            return f'there is no image {self.image} for the mask {self.mask}{unread}'
        if not self.mask.is_file():
            return f'{self.image} has no mask {self.mask}{self._why_no_mask()}'
        has_soft = self.soft is None or self.soft.is_file()
        return '' if has_soft else f'{self.image} has no soft labels {self.soft}, as others have'

    def _why_no_mask(self) -> str:
        if longer := _beside(self.mask, self.image, MASK_ENDS, '[!0-9]*.*'):
            return f': there is {longer[0]}, see lemore data split --mask-suffix'
        if not (others := _beside(self.mask, self.image, NO_MASKS)):
            return ''
        how = " (lemore data import reads labelme's)" * others[0].endswith('.json')
        return f': masks are PNG, BMP or TIFF without loss, not {others[0]}{how}'

    def read_image(self) -> NDArray[np.uint8]:
        """Return the image, RGB (H, W, 3) uint8."""
        return read_image(self.image)

    def read_mask(self) -> NDArray[np.uint8]:
        """Return class ids, (H, W) uint8; pixels that the taxonomy ignores are 255."""
        try:
            return self.reader(self.mask, self.taxonomy).astype(np.uint8, copy=False)
        except TaxonomyError as error:
            msg = f'{self.mask}: {error}'
            raise DataError(msg) from error

    def read_pair(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the image and its class ids, which must have one size."""
        image, mask = self.read_image(), self.read_mask()
        if msg := self.mismatch(image.shape[:2], mask.shape):
            raise DataError(msg)
        return image, mask

    def mismatch(self, image: tuple[int, ...], mask: tuple[int, ...]) -> str:
        """Return an error if the sizes (height, width) of image and mask differ, else ''."""
        if image == mask:
            return ''
        why = ': scale it by nearest neighbour, which adds no values'
        if image == mask[::-1]:
            why = ': it lies on its side, turn it'
            if (turn := orientation(self.image)) > 1:
                why = f': Exif turns the image (orientation {turn}), turn the mask too, or remove that'
        return f'{self.mask} is {mask}, its image {image} (height, width){why}'

    def read_soft(self) -> SoftLabels | None:
        """Return soft labels (2, n, h, w) uint8, see :func:`soft_labels`; None without."""
        return None if self.soft is None else read_soft(self.soft, len(self.taxonomy.classes))


def _beside(path: Path, partner: Path, ends: Sequence[str], more: str = '.*') -> list[str]:
    """Return the names of files that stand where ``path`` is missing, apart from its partner."""
    found = path.parent.glob(f'{glob.escape(path.stem)}{more}')
    return sorted(one.name for one in found if one.suffix.lower() in ends and one != partner)


def in_groups(sample: Sample, groups: ClassGroups) -> Sample:
    """Return a sample whose classes are the groups of its classes; it cannot be pickled."""

    def read(path: Path, _: Taxonomy) -> Labels:
        return groups.apply(sample.reader(path, sample.taxonomy))

    return replace(sample, taxonomy=groups.taxonomy, reader=read)
