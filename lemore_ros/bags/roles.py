"""Which image topics of a bag are cameras and which are labels, and what results are called.

What a topic is follows from its messages: a camera's images can be decoded, a depth image is one by
its encoding, and a result lies beside the class table that was published with it. No topic is a
camera, or none, because of a word in its name.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import NamedTuple

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import parse_json
from lemore_core.images.image import Image
from lemore_core.taxonomy import Taxonomy, load_taxonomy
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.io.topics import Topic
from lemore_ros.bags.segmentation.options import SegmentOptions
from lemore_ros.messages.encodings import encoding_of
from lemore_ros.outputs import OUTPUTS
from lemore_ros.transports import BY_TYPE

CLASSES = OUTPUTS['classes']
LABELS = 'labels'
COMPRESSED = '/compressed'
RESULT = 'it is the result of a segmentation'
# a camera may need a moment to come up, but not its whole life
FIRST_IMAGES = 10
# a video may begin anywhere between two key frames
FIRST_PACKETS = 600
# what drivers and image_proc append to a camera's namespace
GENERIC = {
    'image',
    'image_raw',
    'image_color',
    'image_mono',
    'image_rect',
    'image_rect_color',
    'image_rect_mono',
    'compressed',
    'ffmpeg',
    'foxglove',
}


class CameraTopic(NamedTuple):
    """An image topic to segment; its results are called ``prefix`` and the output's name.

    ``image_bytes`` is what the pixels of its first image take.
    """

    topic: Topic
    prefix: str
    image_bytes: int


class TopicProbe(NamedTuple):
    """What the first image of a topic shows; ``problem`` is why it is no camera, if so."""

    topic: Topic
    encoding: str = ''
    height: int = 0
    width: int = 0
    bytes: int = 0
    is_grey: bool = False
    problem: str = ''


def probe_images(bag: Bag) -> list[TopicProbe]:
    """Look at the first image of every image topic that can be read, by the topics' names."""
    results = result_topics(bag)
    probes = [_probe(bag, topic) for topic in bag.image_topics]
    return [p._replace(problem=RESULT) if p.topic in results else p for p in probes]


def result_topics(bag: Bag) -> set[Topic]:
    """Return the topics that a segmentation published: outputs beside their class table."""
    tables = [topic for topic in bag.topics if _is_class_table(bag, topic)]
    prefixes = [topic.name.removesuffix(CLASSES.name) for topic in tables]
    names = {f'{prefix}{output}' for prefix in prefixes for output in OUTPUTS}
    return {topic for topic in bag.image_topics if topic.name in names}


def camera_topic(bag: Bag, name: str = '', masks: Collection[str] = ()) -> Topic:
    """Return the camera's images: the topic of that name, or the only camera.

    Where there are several, it is the only one in colour: grey images may be masks that came
    without a class table. Topics called ``masks`` are known to be no cameras.

    Raises:
        BagError: there is no such topic, no camera, or there are several.
    """
    if name:
        return image_topic(bag, name)
    usable, others = _cameras(bag)
    usable = [probe for probe in usable if probe.topic.name not in masks]
    if not usable:
        raise BagError(_no_camera(bag, others))
    in_colour = [probe for probe in usable if not probe.is_grey]
    for found in (usable, in_colour):
        if len(found) == 1:
            return found[0].topic
    names = ', '.join(probe.topic.name for probe in usable)
    msg = f'{bag.path} has {len(usable)} cameras: choose one with --topic ({names})'
    raise BagError(msg)


def find_cameras(bag: Bag, options: SegmentOptions) -> tuple[list[CameraTopic], list[TopicProbe]]:
    """Return the topics to segment, and those that cannot be although nobody chose.

    Raises:
        BagError: a topic that was asked for is not there or cannot be segmented, none can, or the
            bag has topics already that are called as the results.
    """
    if options.topics:
        chosen = [image_topic(bag, name) for name in dict.fromkeys(options.topics)]
        usable = [_probe(bag, topic) for topic in chosen]
        others = [probe for probe in usable if probe.problem]
    else:
        usable, others = _cameras(bag)
        others = [probe for probe in others if probe.problem != RESULT and probe.topic.count]
    if not usable or (options.topics and others):
        raise BagError(_no_camera(bag, others))
    cameras = name_cameras(usable, options.prefix)
    if not options.only_results:
        _refuse_taken(bag, cameras, options)
    return cameras, others


def name_cameras(probes: list[TopicProbe], prefix: str) -> list[CameraTopic]:
    """Return the cameras of the topics; results of one camera are called as the live node's.

    Results of several have the camera's name between: ``/lemore_segmentation/front/labels``.
    """
    if len(probes) == 1:
        return [CameraTopic(probes[0].topic, prefix, probes[0].bytes)]
    short = [_namespace(probe.topic.name) for probe in probes]
    names = [
        own if own and short.count(own) == 1 else probe.topic.name.strip('/')
        for own, probe in zip(short, probes, strict=True)
    ]
    return [
        CameraTopic(probe.topic, f'{prefix}/{name}', probe.bytes)
        for probe, name in zip(probes, names, strict=True)
    ]


def image_topic(bag: Bag, name: str) -> Topic:
    """Return the image topic of that name.

    Raises:
        BagError: there is none.
    """
    topic = bag.topic(name)
    if not topic.is_image:
        images = ', '.join(t.name for t in bag.image_topics) or 'none'
        msg = f'topic {name} of {bag.path} is {topic.type}, its image topics are: {images}'
        raise BagError(msg)
    return topic


def raw_first(bag: Bag) -> list[Topic]:
    """Return the image topics, without those that image_transport made of another one."""
    order = list(BY_TYPE)

    def is_of(topic: Topic, other: Topic) -> bool:
        bases = [one.name.removesuffix(one.transport.suffix) for one in (topic, other)]
        is_later = order.index(topic.type) > order.index(other.type)
        return topic.name != other.name and bases[0] == bases[1] and is_later

    topics = bag.image_topics
    return [topic for topic in topics if not any(is_of(topic, other) for other in topics)]


def recorded_labels(bag: Bag) -> list[Topic]:
    """Return the topics of labels that lie beside their class table."""
    results = result_topics(bag)
    return [topic for topic in _called_labels(bag) if topic in results]


def label_topic(bag: Bag, name: str = '', *, option: str = '--labels') -> Topic:
    """Return the topic of labels of that name, or the only one called ``labels``.

    Raises:
        BagError: there is no such topic, or there are several.
    """
    if name:
        return image_topic(bag, name)
    found = _called_labels(bag)
    if len(found) == 1:
        return found[0]
    if found:
        names = ', '.join(topic.name for topic in found)
        msg = f'{bag.path} has {len(found)} topics of labels: choose one with {option} ({names})'
        raise BagError(msg)
    names = ', '.join(topic.name for topic in bag.image_topics) or 'none at all'
    msg = f'{bag.path} has no topic of labels, name it with {option}; its image topics: {names}'
    raise BagError(msg)


def sibling(bag: Bag, labels: Topic, name: str) -> Topic | None:
    """Return the topic called ``name`` beside a topic of labels, or the nearest one above it."""
    found = {topic.name: topic for topic in bag.topics}
    stem = labels.name.removesuffix(COMPRESSED)
    while stem:
        stem = stem.rpartition('/')[0]
        if f'{stem}/{name}' in found:
            return found[f'{stem}/{name}']
    return None


def class_table(bag: Bag, labels: Topic, dataset: str = '') -> Taxonomy:
    """Return what labels mean: ``dataset``, or the table that was recorded beside them.

    Raises:
        BagError: neither is there, or the recorded table cannot be read.
        TaxonomyError: there is no such data set.
    """
    if dataset:
        return load_taxonomy(dataset)
    topic = sibling(bag, labels, CLASSES.name)
    record = next(bag.messages([topic]), None) if topic else None
    if topic is None or record is None:
        msg = (
            f'{bag.path} has no class table beside {labels.name}: '
            'say with --dataset which classes its labels are of'
        )
        raise BagError(msg)
    source = f'{topic.name} in {bag.path}'
    try:
        rows = sorted(parse_json(record.message.data), key=lambda row: int(row['id']))
        if [row['id'] for row in rows] != list(range(len(rows))):
            msg = f'{source} does not number its classes 0, 1, …'
            raise BagError(msg)
        return Taxonomy.from_dict({'name': 'recorded', 'classes': rows}, source)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, LemoreError) as error:
        msg = f'{source} is no class table: {error}'
        raise BagError(msg) from error


def _cameras(bag: Bag) -> tuple[list[TopicProbe], list[TopicProbe]]:
    """Return the topics that are cameras and those that are not, without compressed twins."""
    raw = raw_first(bag)
    probes = [probe for probe in probe_images(bag) if probe.topic in raw]
    return [p for p in probes if not p.problem], [p for p in probes if p.problem]


def _probe(bag: Bag, topic: Topic) -> TopicProbe:
    problem = 'no image'
    most = FIRST_PACKETS if topic.transport.is_video else FIRST_IMAGES
    for index, (record, image) in enumerate(bag.frames(topic)):
        if isinstance(image, Image):
            encoding = encoding_of(record.message)
            height, width = image.pixels.shape[:2]
            is_grey = image.pixels.ndim == 2
            return TopicProbe(topic, encoding, height, width, image.pixels.size, is_grey)
        problem = problem if index else str(image)
        if index + 1 == most:
            break
    return TopicProbe(topic, problem=problem)


def _is_class_table(bag: Bag, topic: Topic) -> bool:
    if topic.type != CLASSES.type or topic.name.rpartition('/')[2] != CLASSES.name:
        return False
    record = next(bag.messages([topic]), None)
    try:
        rows = parse_json(record.message.data) if record else []
        return bool(rows) and all(row['name'] and 'id' in row for row in rows)
    except (BagError, KeyError, TypeError, ValueError):
        return False


def _no_camera(bag: Bag, others: list[TopicProbe]) -> str:
    reasons = '; '.join(f'{probe.topic.name}: {probe.problem}' for probe in others)
    names = ', '.join(f'{t.name} ({t.type})' for t in bag.topics[:10]) or 'no topics at all'
    return f'{bag.path} has no camera: {reasons or f"it has {names}"}'


def _refuse_taken(bag: Bag, cameras: list[CameraTopic], options: SegmentOptions) -> None:
    results = {f'{camera.prefix}/{output}' for camera in cameras for output in options.outputs}
    taken = sorted(results & {topic.name for topic in bag.topics})
    if taken:
        msg = (
            f'{bag.path} has a topic {taken[0]} already: give the results another --prefix than '
            f'{options.prefix}, or write --only-results'
        )
        raise BagError(msg)


def _namespace(name: str) -> str:
    parts = list(PurePosixPath(name.strip('/')).parts)
    while parts and parts[-1] in GENERIC:
        parts.pop()
    return '/'.join(parts)


def _called_labels(bag: Bag) -> list[Topic]:
    return [
        topic
        for topic in raw_first(bag)
        if topic.name.removesuffix(COMPRESSED).rpartition('/')[2] == LABELS
    ]
