"""Which image topics of a bag are labelled, and what their results are called."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from lemore_core.image import Image
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.reader import Bag, decode
from lemore_ros.bags.io.topics import Topic
from lemore_ros.bags.segmentation.options import RECORDED, SegmentOptions

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
}


class Camera(NamedTuple):
    """An image topic that is labelled; its results are called ``prefix`` and the output's name.

    ``image_bytes`` is what the pixels of its first image take.
    """

    topic: Topic
    prefix: str
    image_bytes: int


class TopicProbe(NamedTuple):
    """What the first image of a topic shows; ``problem`` is why it cannot be labelled, if so."""

    topic: Topic
    encoding: str = ''
    height: int = 0
    width: int = 0
    bytes: int = 0
    problem: str = ''


def look(bag: Bag, topic: Topic) -> TopicProbe:
    """Look at the first image of a topic that can be read."""
    problem = 'no image'
    for index, record in enumerate(bag.messages([topic])):
        image = decode(record)
        if isinstance(image, Image):
            message = record.message
            encoding = message.format if topic.is_compressed else message.encoding
            height, width = image.pixels.shape[:2]
            return TopicProbe(topic, encoding, height, width, image.pixels.size)
        problem = problem if index else str(image)
        # a camera may need a moment to come up, but not its whole life
        if index == 9:
            break
    return TopicProbe(topic, problem=problem)


def find_cameras(bag: Bag, options: SegmentOptions) -> tuple[list[Camera], list[TopicProbe]]:
    """Return the topics that are labelled, and those that are not although nobody chose.

    Raises:
        BagError: a topic that was asked for is not there or cannot be labelled, none can, or the
            bag has topics already that are called as the results.

    """
    sights = [look(bag, topic) for topic in _candidates(bag, options)]
    seen = [sight for sight in sights if not sight.problem]
    unseen = [sight for sight in sights if sight.problem]
    if not seen or (options.topics and unseen):
        reasons = '; '.join(f'{s.topic.name}: {s.problem}' for s in unseen)
        names = ', '.join(f'{t.name} ({t.type})' for t in bag.topics[:10]) or 'no topics at all'
        msg = f'{bag.path} has no image topic to label: {reasons or f"it has {names}"}'
        raise BagError(msg)
    cameras = name_cameras(seen, options.prefix)
    if not options.only_results:
        _refuse_taken(bag, cameras, options)
    return cameras, unseen


def name_cameras(sights: list[TopicProbe], prefix: str) -> list[Camera]:
    """Return the cameras of the topics; results of one camera are called as the live node's.

    Results of several have the camera's name between: ``/lemore_segmentation/front/labels``.
    """
    if len(sights) == 1:
        return [Camera(sights[0].topic, prefix, sights[0].bytes)]
    short = [_namespace(sight.topic.name) for sight in sights]
    names = [
        own if own and short.count(own) == 1 else sight.topic.name.strip('/')
        for own, sight in zip(short, sights, strict=True)
    ]
    return [
        Camera(sight.topic, f'{prefix}/{name}', sight.bytes)
        for sight, name in zip(sights, names, strict=True)
    ]


def is_result(topic: Topic, prefix: str) -> bool:
    """Whether a topic is called as what a labelling wrote; it is no camera's then."""
    return topic.name.startswith(f'{prefix}/') and topic.name.endswith(
        tuple(f'/{output}' for output in RECORDED)
    )


def _candidates(bag: Bag, options: SegmentOptions) -> list[Topic]:
    if options.topics:
        return [_image_topic(bag, name) for name in dict.fromkeys(options.topics)]
    names = {topic.name for topic in bag.image_topics}
    # what image_transport made of a raw image that is in the bag as well
    twins = {f'{name}/compressed' for name in names}
    return [
        topic
        for topic in bag.image_topics
        if topic.count
        and not is_result(topic, options.prefix)
        and not (topic.is_compressed and topic.name in twins)
    ]


def _image_topic(bag: Bag, name: str) -> Topic:
    topic = bag.topic(name)
    if not topic.is_image:
        images = ', '.join(t.name for t in bag.image_topics) or 'none'
        msg = f'topic {name} is of type {topic.type}, the image topics are: {images}'
        raise BagError(msg)
    return topic


def _refuse_taken(bag: Bag, cameras: list[Camera], options: SegmentOptions) -> None:
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
