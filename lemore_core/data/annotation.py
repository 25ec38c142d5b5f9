"""Write the masks of a data set for annotation tools, and read the corrected ones back.

CVAT takes ``cvat.zip`` as ``Segmentation mask 1.1``, Label Studio ``label_studio.json`` as tasks with
predictions and ``label_studio.xml`` as its configuration; labelme opens the folder of the images,
which have a JSON file each; ``coco.json`` has run lengths.
"""

from __future__ import annotations

import base64
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lemore_core.common.errors import LemoreError, in_one_line
from lemore_core.common.files import read_regular, require_new, write_whole
from lemore_core.common.yaml_file import dump_yaml
from lemore_core.data.datasets import CLASSES, OWN, open_dataset, paired
from lemore_core.data.samples import DataError, Sample
from lemore_core.data.split import copy_into
from lemore_core.images.files import NUMBERS, decode_image, encode_image, write_labels
from lemore_core.taxonomy import Labels, Taxonomy

CVAT, COCO = 'voc_segmentation', 'coco_instances'  # as datumaro calls them
PACKAGES = {'cvat': 'datumaro', 'coco': 'datumaro', 'label-studio': 'label_studio_sdk'}
MOST_BYTES = 2**30  # of an export, unpacked
EXPORTS = (
    'from CVAT export Segmentation mask 1.1 or COCO 1.0, from Label Studio JSON with brush labels, '
    'and of labelme give the folder of its files'
)
Size = tuple[int, int]  # height, width
Mark = tuple[str, NDArray[np.bool_]]  # name of its class, (H, W)
# name of an image file, and its marks for the size of the image, the later ones over the earlier
Marked = tuple[str, Callable[[Size], Iterable[Mark]]]
Named = Iterable[tuple[Path, Labels]]


def write_annotations(kind: str, root: Path) -> None:
    """Write the masks of the data set ``root`` into it, for the tool ``kind`` of ``KINDS``."""
    samples = all_samples(root)
    named = ((sample.image, sample.read_mask()) for sample in samples)
    KINDS[kind](root, samples[0].taxonomy, named)


def import_annotations(export: Path, data: Path, output: Path) -> tuple[int, list[str]]:
    """Write a data set of the images in ``data``, with or without masks, that have labels in ``export``.

    Return their number, and the names of the images without labels.
    """
    require_new(output, DataError)
    taxonomy = open_dataset(OWN, data).taxonomy
    folders = ((data / 'images' / split, data / 'masks' / split) for split in _splits(data))
    samples = [one for both in folders for one in paired(*both, taxonomy) if one.image.is_file()]
    waiting = {one.image.stem: one for one in samples}
    number = len(waiting)
    sizes: dict[str, Size] = {name: one.read_image().shape[:2] for name, one in waiting.items()}
    for stem, labels in read_annotations(export, taxonomy, sizes):
        sample = waiting.pop(stem, None)
        if sample is None:
            msg = f'{export} has two masks of {stem}'
            raise DataError(msg)
        copy_into(output / sample.image.relative_to(data), sample.image)
        mask = output / sample.mask.relative_to(data).with_name(f'{stem}.png')
        write_labels(mask, labels, taxonomy)
    if len(waiting) == number:
        msg = f'{export} has no mask of an image in {data}: were the tasks answered?'
        raise DataError(msg)
    write_classes(output, taxonomy)
    return number - len(waiting), [*waiting]


def all_samples(root: Path) -> list[Sample]:
    """Return the samples of both splits of a data set of the layout ``folder``."""
    dataset = open_dataset(OWN, root)
    return [sample for split in _splits(root) for sample in dataset.samples(split)]


def _splits(root: Path) -> list[str]:
    return [one for one in ('train', 'val') if (root / 'images' / one).is_dir()] or ['train']


def write_classes(root: Path, taxonomy: Taxonomy) -> None:
    """Write the class table of a data set whose masks hold class ids."""
    values = {**taxonomy.of_labels.to_dict(), 'ignored': [taxonomy.unlabelled]}
    write_whole(root / CLASSES, dump_yaml(values))


def read_annotations(
    path: Path, taxonomy: Taxonomy, sizes: Mapping[str, Size]
) -> Iterator[tuple[str, Labels]]:
    """Yield the name of each image and its labels (H, W), of an export: a file, folder or ``.zip``.

    ``sizes`` are those of the images by their names without suffix.
    """
    with TemporaryDirectory() as folder:
        try:
            for name, marks in _read(path, Path(folder)):
                stem = _image_of(name, sizes)
                try:
                    labels = _painted(sizes[stem], marks(sizes[stem]), taxonomy)
                except DataError as error:
                    msg = f'{name}: {error}'
                    raise DataError(msg) from error
                yield stem, labels
        except (ImportError, LemoreError, MemoryError):
            raise
        except Exception as error:  # damage, and other versions, show in a dozen ways
            reason = in_one_line(error)
            msg = f'{path} is no export of a kind and version that is read ({reason}): {EXPORTS}'
            raise DataError(msg) from error


def _read(path: Path, folder: Path) -> Iterator[Marked]:
    """Read an export by what its files hold; ``folder`` is for copies."""
    if path.suffix == '.zip':
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                msg = f'it holds more than {MOST_BYTES} bytes'
                raise ValueError(msg)
            archive.extractall(folder / 'zip')
        path = folder / 'zip'
    if any(path.rglob('labelmap.txt')):
        yield from _read_datumaro(path, CVAT)
        return
    for file in sorted(path.rglob('*.json')) if path.is_dir() else [path]:
        values = json.loads(read_regular(file, MOST_BYTES))
        if isinstance(values, list):
            yield from _read_label_studio(values)
        elif 'shapes' in values:
            yield values['imagePath'], partial(_labelme_marks, values)
        elif {'images', 'annotations', 'categories'} <= values.keys():
            # datumaro wants these names, and a folder of images, which may be empty
            target = folder / file.stem / 'annotations' / 'instances_default.json'
            (target.parents[1] / 'images').mkdir(parents=True)
            copy_into(target, file)
            yield from _read_datumaro(target.parents[1], COCO)
        else:
            msg = f'{file.name} is none'
            raise ValueError(msg)


def _write_datumaro(form: str, root: Path, taxonomy: Taxonomy, named: Named) -> Path:
    """Write the files of a form into the folder of its name, which it returns."""
    import datumaro

    items = []
    for image, labels in named:
        marks = [
            datumaro.Mask(mask, label=taxonomy.classes.index(name))
            for name, mask in _marks(labels, taxonomy)
        ]
        media = datumaro.Image.from_file(path=str(image))
        items.append(
            datumaro.DatasetItem(image.stem, subset='default', media=media, annotations=marks)
        )
    # its own colours: those of a table may be equal, or that of the background
    categories = {
        datumaro.AnnotationType.label: datumaro.LabelCategories.from_iterable(taxonomy.classes),
        datumaro.AnnotationType.mask: datumaro.MaskCategories.generate(
            len(taxonomy.classes), include_background=False
        ),
    }
    dataset = datumaro.Dataset.from_iterable(items, categories=categories)
    dataset.export(str(root / form), form, save_media=False)
    return root / form


def _read_datumaro(root: Path, form: str) -> Iterator[Marked]:
    import datumaro

    try:
        dataset = datumaro.Dataset.import_from(str(root), form)
    except datumaro.errors.DatasetImportError as error:
        raise ValueError(str(error.__cause__ or error)) from error
    names = [one.name for one in dataset.categories()[datumaro.AnnotationType.label]]
    for item in dataset:
        if item.annotations:
            yield item.id, partial(_datumaro_marks, item.annotations, names)


def _datumaro_marks(annotations: Any, names: Sequence[str], size: Size) -> Iterator[Mark]:
    import datumaro

    for one in annotations:
        if isinstance(one, datumaro.Mask):
            if isinstance(one, datumaro.RleMask):
                _require_size(one.rle['size'], size)  # before its memory is reserved
            yield names[one.label], np.asarray(one.image, np.bool_)
        elif isinstance(one, datumaro.Polygon):
            yield names[one.label], _polygon(size, np.reshape(one.points, (-1, 2)).tolist())
        elif not isinstance(one, datumaro.Bbox):  # COCO has the box of each mask beside it
            raise TypeError(type(one).__name__)


def _write_cvat(root: Path, taxonomy: Taxonomy, named: Named) -> None:
    if odd := [name for name in taxonomy.classes if name == 'background' or ':' in name]:
        msg = f'CVAT has other uses for the name {odd[0]!r}: rename it, or take another format'
        raise DataError(msg)
    folder = _write_datumaro(CVAT, root, taxonomy, named)
    shutil.make_archive(str(root / 'cvat'), 'zip', folder)
    shutil.rmtree(folder)


def _write_coco(root: Path, taxonomy: Taxonomy, named: Named) -> None:
    folder = _write_datumaro(COCO, root, taxonomy, named)
    (folder / 'annotations' / 'instances_default.json').replace(root / 'coco.json')
    shutil.rmtree(folder)


def _write_labelme(root: Path, taxonomy: Taxonomy, named: Named) -> None:
    for image, labels in named:
        shapes: list[dict[str, Any]] = []
        for name, mask in _marks(labels, taxonomy):
            left, top, width, height = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
            corners = [[left, top], [width - 1, height - 1]]
            part = encode_image(mask[top:height, left:width].astype(np.uint8), '.png')
            shape = {'label': name, 'points': corners, 'shape_type': 'mask', 'flags': {}}
            shapes.append({**shape, 'group_id': None, 'mask': base64.b64encode(part).decode()})
        size = {'imageHeight': labels.shape[0], 'imageWidth': labels.shape[1]}
        values = {'version': '5.5.0', 'flags': {}, 'shapes': shapes, 'imagePath': image.name}
        text = json.dumps({**values, 'imageData': None, **size})
        write_whole(image.with_suffix('.json'), text)
    write_whole(root / 'labelme.txt', '\n'.join(taxonomy.classes))


def _labelme_marks(values: Any, size: Size) -> Iterator[Mark]:
    _require_size((values['imageHeight'], values['imageWidth']), size)
    for shape in values['shapes']:
        mask = np.zeros(size, np.bool_)
        match shape.get('shape_type') or 'polygon':
            case 'polygon':
                mask = _polygon(size, shape['points'])
            case 'rectangle':
                (left, top), (right, bottom) = shape['points']
                corners = (left, top), (right, top), (right, bottom), (left, bottom)
                mask = _polygon(size, corners)
            case 'mask':
                data = base64.b64decode(shape['mask'])
                part = decode_image(data, NUMBERS, max_pixels=mask.size) != 0
                left, top = map(int, shape['points'][0])
                mask[top : top + part.shape[0], left : left + part.shape[1]] = part
            case other:
                msg = f'a mark of labelme is a {other}: draw polygons, rectangles or masks'
                raise DataError(msg)
        yield shape['label'], mask


def _write_label_studio(root: Path, taxonomy: Taxonomy, named: Named) -> None:
    from label_studio_sdk.converter import brush

    tasks = []
    for image, labels in named:
        size = {'original_height': labels.shape[0], 'original_width': labels.shape[1]}
        fixed = {**size, 'type': 'brushlabels', 'from_name': 'tag', 'to_name': 'image'}
        results = []
        for name, mask in _marks(labels, taxonomy):
            runs = brush.mask2rle(mask.astype(np.uint8) * 255)
            value = {'format': 'rle', 'rle': runs, 'brushlabels': [name]}
            results.append({**fixed, 'id': name, 'image_rotation': 0, 'value': value})
        data = {'image': f'/data/local-files/?d={image.relative_to(root).as_posix()}'}
        tasks.append({'data': data, 'predictions': [{'result': results}]})
    rows = [
        f'<Label value={quoteattr(name)} background="rgb{color}"/>'
        for name, color in zip(taxonomy.classes, taxonomy.colors, strict=True)
    ]
    tags = f'<BrushLabels name="tag" toName="image">{"".join(rows)}</BrushLabels>'
    page = f'<View><Image name="image" value="$image" zoom="true"/>{tags}</View>'
    write_whole(root / 'label_studio.xml', page)
    write_whole(root / 'label_studio.json', json.dumps(tasks))


def _read_label_studio(tasks: Any) -> Iterator[Marked]:
    for task in tasks:
        done = [one for one in task['annotations'] if not one.get('was_cancelled')]
        if done:  # a task may wait for its answer
            yield task['data']['image'], partial(_label_studio_marks, done[-1]['result'])


def _label_studio_marks(results: Any, size: Size) -> Iterator[Mark]:
    from label_studio_sdk.converter import brush

    for result in results:
        (name,), runs = result['value']['brushlabels'], result['value']['rle']
        _require_size((result['original_height'], result['original_width']), size)
        # memory of the length in the first four bytes is reserved before the rest is read
        _require_size((int.from_bytes(bytes(runs[:4]), 'big'),), (4 * size[0] * size[1],))
        yield name, brush.decode_rle(runs).reshape(*size, 4)[..., 3] > 0


def _image_of(name: str, sizes: Mapping[str, Size]) -> str:
    """Return the name that a tool's own path, perhaps after an upload's prefix, stands for."""
    path = PurePosixPath(name.replace('\\', '/').rpartition('=')[2])
    stem = path.name if path.name in sizes else path.stem  # some tools leave the suffix out
    while stem not in sizes:
        if '-' not in stem:
            msg = f'there is no image of the name {name}'
            raise DataError(msg)
        stem = stem.partition('-')[2]
    return stem


def _marks(labels: Labels, taxonomy: Taxonomy) -> Iterator[Mark]:
    for label, name in enumerate(taxonomy.classes):
        if (mask := labels == label).any():
            yield name, mask


def _painted(size: Size, marks: Iterable[Mark], taxonomy: Taxonomy) -> Labels:
    labels: Labels = np.full(size, taxonomy.unlabelled, np.uint8)
    for name, mask in marks:
        if name not in taxonomy.classes:
            known = f'the classes are {", ".join(taxonomy.classes)}'
            msg = f'a mark is called {name!r}, {known}: rename it, or add it to classes.yaml'
            raise DataError(msg)
        _require_size(mask.shape, size)
        labels[mask] = taxonomy.classes.index(name)
    return labels


def _polygon(size: Size, points: Iterable[Sequence[float]]) -> NDArray[np.bool_]:
    """Return a polygon's pixels with its outline, as labelme draws it."""
    image = Image.new('1', size[::-1])
    ImageDraw.Draw(image).polygon([(x, y) for x, y in points], fill=1, outline=1)
    return np.array(image)


def _require_size(size: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(size) != tuple(expected):
        msg = f'a mask of {tuple(size)} for an image of {tuple(expected)}'
        raise DataError(msg)


KINDS: Mapping[str, Callable[[Path, Taxonomy, Named], None]] = {
    'cvat': _write_cvat,
    'label-studio': _write_label_studio,
    'labelme': _write_labelme,
    'coco': _write_coco,
}
