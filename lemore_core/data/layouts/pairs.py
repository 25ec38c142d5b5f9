"""Finds folders, and pairs the images with the masks that have their names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lemore_core.data.errors import DataError
from lemore_core.data.samples import MaskReader, Sample
from lemore_core.taxonomy import Taxonomy


def first_folder(root: Path, names: Sequence[str], layout: str) -> Path:
    """Return the first of the named folders in ``root`` that is there.

    ``layout`` says what the data set needs, for the error.

    Raises:
        DataError: none of them is.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    msg = f'there is no folder {root / names[0]}: {layout}'
    raise DataError(msg)


def paired(
    images: Path,
    masks: Path,
    taxonomy: Taxonomy,
    *,
    image_ends: Sequence[str],
    mask_readers: Mapping[str, MaskReader],
) -> list[Sample]:
    """Return samples of the images and masks below two folders, by name.

    An image and its mask have the same path in the two folders but for their ends, which
    ``image_ends`` and ``mask_readers`` name. Where one image has several masks, the first of
    ``mask_readers`` is taken. What ends otherwise is no part of the data set.

    Raises:
        DataError: there is no image and no mask, or two images have the same name.
    """
    found = _find(images, image_ends)
    labelled = _find(masks, list(mask_readers))
    for files in found.values():
        if len(files) > 1:
            msg = f'{files[0].path} and {files[1].path} are two images of one name'
            raise DataError(msg)
    if not found and not labelled:
        msg = f'{images} holds no images that end in {", ".join(image_ends)}'
        raise DataError(msg)
    first = next(iter(mask_readers))
    samples = []
    for name in sorted(found.keys() | labelled.keys()):
        image = found[name][0].path if name in found else images / f'{name}{image_ends[0]}'
        mask = labelled[name][0] if name in labelled else _File(masks / f'{name}{first}', first)
        samples.append(Sample(image, mask.path, taxonomy, mask_readers[mask.end]))
    return samples


@dataclass(frozen=True)
class _File:
    path: Path
    end: str


def _find(folder: Path, ends: Sequence[str]) -> dict[str, list[_File]]:
    """Return the files below a folder by their names without their ends, the first end first."""
    # the longest end that fits is a file's own: a_labelTrainIds.png does not belong to .png
    by_length = sorted(ends, key=len, reverse=True)
    found: dict[str, list[_File]] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        end = next((end for end in by_length if name.lower().endswith(end.lower())), None)
        if end is not None:
            found.setdefault(name[: -len(end)], []).append(_File(path, end))
    for files in found.values():
        files.sort(key=lambda file: ends.index(file.end))
    return found


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        # archives made on a Mac bring a hidden ._name beside each name
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            if not name.startswith('.'):
                yield Path(parent, name)
