"""Find the cameras and the labels among the image topics of a bag.

The messages decide, not the names: cameras have images that can be decoded, depth images have their
encodings, results lie beside the class table that was published with them, and masks are grey
images with the stamps and the size of a camera in colour.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import parse_json
from lemore_core.images.image import Image
from lemore_core.sources import drive_name
from lemore_core.taxonomy import Taxonomy, load_taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.reader import Bag
from lemore_ros.bags.types import Topic
from lemore_ros.messages.common import read_stamp
from lemore_ros.messages.images import DepthImageError, encoding_of
from lemore_ros.outputs import BY_TYPE, OUTPUTS

CLASSES = OUTPUTS['classes']
LABELS = '/labels'
COMPRESSED = '/compressed'
RESULT = 'it is the result of a segmentation'
# messages tried, fewer if they are large: a camera may need a moment to start, a video starts
# between two key frames
MOST_TRIED, MOST_TRIED_BYTES = 600, 2**28
STAMPS_COMPARED = 10
STAMPED_BYTES = 12
SHOWN = 10  # topics in a message
# names that drivers and image_proc append to a camera's namespace
GENERIC = {
    *('image', 'image_raw', 'image_color', 'image_mono'),
    *('image_rect', 'image_rect_color', 'image_rect_mono'),
    *('compressed', 'ffmpeg', 'foxglove'),
}


class TopicProbe(NamedTuple):
    """Encoding, size and bytes of a topic's first image, or the ``problem`` that it is no camera.

    ``is_unreadable`` images may be those of a camera; others are results, masks or depth.
    """

    topic: Topic
    encoding: str = ''
    height: int = 0
    width: int = 0
    bytes: int = 0
    is_grey: bool = False
    problem: str = ''
    is_unreadable: bool = False


def probe_images(bag: Bag) -> list[TopicProbe]:
    """Probe the first readable image of every image topic, sorted by name."""
    results = result_topics(bag)
    probes = [_probe(bag, topic) for topic in bag.image_topics]
    probes = [p._replace(problem=RESULT) if p.topic in results else p for p in probes]
    cameras = [probe for probe in probes if not (probe.problem or probe.is_grey)]
    return [p if p.problem else p._replace(problem=_mask_of(bag, p, cameras)) for p in probes]


def result_topics(bag: Bag) -> set[Topic]:
    """Return the topics that a segmentation published: outputs beside their class table."""
    names = set[str]()
    for topic in bag.topics:
        prefix, _, name = topic.name.rpartition('/')
        if (name, topic.type) == (CLASSES.name, CLASSES.type):
            with suppress(BagError):
                _read_table(bag, topic)
                names |= {f'{prefix}/{output}' for output in OUTPUTS}
    return {topic for topic in bag.image_topics if topic.name in names}


def camera_topic(bag: Bag, name: str = '', masks: Collection[str] = ()) -> Topic:
    """Return the topic called ``name``, or the only camera (in colour) but for ``masks``."""
    if name:
        return image_topic(bag, name)
    found, others = find_cameras(bag)
    usable = [probe for probe in found.values() if probe.topic.name not in masks]
    if not usable:
        raise _no_camera(bag, others)
    # grey images may be masks without a class table
    chosen = usable if len(usable) == 1 else [probe for probe in usable if not probe.is_grey]
    if len(chosen) == 1:
        return chosen[0].topic
    names = ', '.join(probe.topic.name for probe in usable)
    msg = f'{bag.path} has {len(usable)} cameras: choose one with --topic ({names})'
    raise BagError(msg)


def find_cameras(
    bag: Bag, topics: Sequence[str] = ()
) -> tuple[dict[str, TopicProbe], list[TopicProbe]]:
    """Return the cameras called ``topics``, or all; and the topics that are unexpectedly none.

    Cameras have short names, empty for a single one: ``front``, ``rear``.
    """
    if topics:
        probes = [_probe(bag, image_topic(bag, name)) for name in dict.fromkeys(topics)]
        others = [p._replace(is_unreadable=True) for p in probes if p.problem]
    else:
        every = probe_images(bag)
        readable = [probe.topic for probe in every if not probe.problem]
        chosen = _raw_first(bag.image_topics, readable)
        probes = [probe for probe in every if probe.topic in chosen]
        others = [p for p in probes if p.problem and p.problem != RESULT]
    usable = [probe for probe in probes if not probe.problem]
    if not usable:
        raise _no_camera(bag, others)
    others += [] if topics else _unread_images(bag, usable)
    if len(usable) == 1:
        return {'': usable[0]}, others
    short = [_namespace(probe.topic) for probe in usable]
    named = {
        name if name and short.count(name) == 1 else probe.topic.name.strip('/'): probe
        for name, probe in zip(short, usable, strict=True)
    }
    return named, others


def name_in_files(camera: str) -> str:
    """Return the name of a camera as a part of file names; no other camera has the same."""
    return drive_name(camera.strip('/').replace('/', '--'))


def names_in_files(camera: Topic) -> tuple[str, str, str]:
    """Return what file names may call a camera: nothing, its short name, or its whole one."""
    return '', name_in_files(_namespace(camera)), name_in_files(camera.name)


def _unread_images(bag: Bag, cameras: Collection[TopicProbe]) -> list[TopicProbe]:
    """Return the topics of images that are not read, but for copies of ``cameras``."""
    read = {one.topic.name.removesuffix(one.topic.transport.suffix) for one in cameras}
    return [
        TopicProbe(topic, problem=topic.kind, is_unreadable=True)
        for topic in bag.topics
        if topic.is_unread_image and topic.count and topic.name.rpartition('/')[0] not in read
    ]


def image_topic(bag: Bag, name: str) -> Topic:
    """Return the image topic of that name."""
    topic = bag.topic(name)
    if not topic.is_image:
        images = ', '.join(t.name for t in bag.image_topics) or 'none'
        msg = f'topic {name} of {bag.path} is {topic.type}, its image topics are: {images}'
        raise BagError(msg)
    return topic


def recorded_labels(bag: Bag) -> list[Topic]:
    """Return the label topics that lie beside their class table."""
    results = result_topics(bag)
    return [topic for topic in _called_labels(bag) if topic in results]


def label_topic(
    bag: Bag, name: str = '', *, option: str = '--labels', camera: Topic | None = None
) -> Topic:
    """Return the label topic called ``name``, or that of ``camera``, or the only one called ``labels``."""
    if name:
        return image_topic(bag, name)
    found = _called_labels(bag)
    if camera is not None:
        ends = f'/{_namespace(camera)}{LABELS}', camera.name + LABELS
        # also an empty one: others are of other cameras
        found = [topic for topic in bag.image_topics if topic.name.endswith(ends)] or found
    if len(found) == 1:
        return found[0]
    names = ', '.join(topic.name for topic in found or bag.image_topics) or 'none'
    if found:
        msg = f'{bag.path} has {len(found)} topics of labels: choose one with {option} ({names})'
    else:
        msg = f'{bag.path} has no topic of labels, name it with {option}; its image topics: {names}'
    raise BagError(msg)


def sibling(bag: Bag, labels: Topic, name: str) -> Topic | None:
    """Return the topic called ``name`` beside a label topic, or in the nearest parent namespace."""
    found = {topic.name: topic for topic in bag.topics}
    stem = labels.name.removesuffix(COMPRESSED)
    while stem:
        stem = stem.rpartition('/')[0]
        if f'{stem}/{name}' in found:
            return found[f'{stem}/{name}']
    return None


def class_table(bag: Bag, labels: Topic, dataset: str = '') -> Taxonomy:
    """Return the classes of ``dataset``, or else the table recorded beside the labels."""
    if dataset:
        return load_taxonomy(dataset)
    topic = sibling(bag, labels, CLASSES.name)
    if topic is None:
        remedy = 'name the data set of its labels with --dataset'
        msg = f'{bag.path} has no class table beside {labels.name}: {remedy}'
        raise BagError(msg)
    return _read_table(bag, topic)


def _read_table(bag: Bag, topic: Topic) -> Taxonomy:
    source = f'{topic.name} in {bag.path}'
    try:
        text = next(record.message.data for record in bag.messages([topic]))
        rows = sorted(parse_json(text), key=lambda row: int(row['id']))
        if [row['id'] for row in rows] != list(range(len(rows))):
            msg = 'it does not number its classes 0, 1, …'
            raise BagError(msg)
        return Taxonomy.from_dict({'name': 'recorded', 'classes': rows}, source)
    except StopIteration:
        msg = f'{source} has no message: name the data set of the labels with --dataset'
        raise BagError(msg) from None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, LemoreError) as error:
        msg = f'{source} is no class table: {error}'
        raise BagError(msg) from error


def _probe(bag: Bag, topic: Topic) -> TopicProbe:
    problem, is_depth, tried = '', False, 0
    for record, image in islice(bag.frames(topic), MOST_TRIED):
        if isinstance(image, Image):
            encoding = encoding_of(record.message)
            height, width = image.pixels.shape[:2]
            is_grey = image.pixels.ndim == 2
            return TopicProbe(topic, encoding, height, width, image.pixels.size, is_grey)
        problem, tried = problem or str(image), tried + len(record.data)
        is_depth |= isinstance(image, DepthImageError)
        if tried > MOST_TRIED_BYTES:
            break
    reason = problem or ('no message can be read' if topic.count else 'it has no messages')
    return TopicProbe(topic, problem=reason, is_unreadable=topic.count > 0 and not is_depth)


def _mask_of(bag: Bag, probe: TopicProbe, cameras: Sequence[TopicProbe]) -> str:
    """Return the problem of a grey topic with the size and most stamps of a camera, or ''."""
    for camera in cameras if probe.is_grey else ():
        if (probe.height, probe.width) != (camera.height, camera.width):
            continue
        stamps: dict[Topic, list[int]] = {probe.topic: [], camera.topic: []}
        for record in bag.messages([*stamps]):
            if len(record.data) >= STAMPED_BYTES:
                stamps[record.topic].append(read_stamp(record.data))
            if min(map(len, stamps.values())) == STAMPS_COMPARED:
                break
        known = [stamp for stamp in stamps[probe.topic][:STAMPS_COMPARED] if stamp]
        if sum(stamp in stamps[camera.topic] for stamp in known) > len(known) / 2:
            return f'labels or mask of {camera.topic.name}'
    return ''


def _no_camera(bag: Bag, others: list[TopicProbe]) -> BagError:
    reasons = '; '.join(f'{probe.topic.name}: {probe.problem}' for probe in others)
    names = ', '.join(map(str, bag.topics[:SHOWN])) or 'no messages'
    damage = f'; it is damaged: {bag.errors}' if bag.errors.places else ''
    return BagError(f'{bag.path} has no camera: {reasons or f"it has {names}"}{damage}')


def _namespace(topic: Topic) -> str:
    parts = topic.name.strip('/').split('/')
    while parts and parts[-1] in GENERIC:
        parts.pop()
    return '/'.join(parts)


def _raw_first(topics: Collection[Topic], preferred: Collection[Topic] = ()) -> list[Topic]:
    """Return one topic of those that image_transport publishes of a camera, the raw one if it can.

    Preferred are those in ``preferred``, then those that lack less than half of the images.
    """
    twins: dict[str, list[Topic]] = {}
    for topic in topics:
        twins.setdefault(topic.name.removesuffix(topic.transport.suffix), []).append(topic)

    def rank(topic: Topic) -> tuple[bool, bool, int]:
        most = max(t.count for t in twins[topic.name.removesuffix(topic.transport.suffix)])
        return topic not in preferred, topic.count < most / 2, [*BY_TYPE].index(topic.type)

    return [min(found, key=rank) for found in twins.values()]


def _called_labels(bag: Bag) -> list[Topic]:
    names = (LABELS, LABELS + COMPRESSED)
    found = _raw_first([topic for topic in bag.image_topics if topic.count])
    return [topic for topic in found if f'/{topic.name}'.endswith(names)]
