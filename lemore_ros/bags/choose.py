"""Which topics of a bag are meant where the user names none."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lemore_core.taxonomy import Taxonomy, TaxonomyError, load_taxonomy
from lemore_ros.bags.io.reader import Bag, BagError, Topic

COMPRESSED = '/compressed'
RESULTS = ('labels', 'confidence', 'color', 'overlay')


def camera_topic(bag: Bag, name: str = '') -> Topic:
    """Return the camera's images: the topic of that name, or the only one that can be meant.

    Results of a segmentation and depth images are not meant, and raw images before their
    compressed twin.

    Raises:
        BagError: there is no such topic, or there are several.

    """
    if name:
        return _image_topic(bag, name)
    found = [
        topic
        for topic in _raw_first(bag)
        if not _is_result(topic.name) and 'depth' not in topic.name.lower()
    ]
    return _only(bag, found, 'camera images', '--topic')


def label_topic(bag: Bag, name: str = '', *, option: str = '--labels') -> Topic:
    """Return the topic of labels of that name, or the only one called ``labels``.

    Raises:
        BagError: there is no such topic, or there are several.

    """
    if name:
        return _image_topic(bag, name)
    found = [topic for topic in _raw_first(bag) if _last(topic.name) == 'labels']
    return _only(bag, found, 'label images', option)


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
    topic = sibling(bag, labels, 'classes')
    record = next(bag.messages([topic]), None) if topic else None
    if topic is None or record is None:
        msg = (
            f'{bag.path} has no class table beside {labels.name}: '
            'say with --dataset which classes its labels are of'
        )
        raise BagError(msg)
    source = f'{topic.name} in {bag.path}'
    try:
        rows = sorted(json.loads(record.message.data), key=lambda row: int(row['id']))
        if [row['id'] for row in rows] != list(range(len(rows))):
            msg = f'{source} does not number its classes 0, 1, …'
            raise BagError(msg)
        return Taxonomy.from_dict({'name': 'recorded', 'classes': rows}, source)
    except (AttributeError, KeyError, TypeError, ValueError, TaxonomyError) as error:
        msg = f'{source} is no class table: {error}'
        raise BagError(msg) from error


def _image_topic(bag: Bag, name: str) -> Topic:
    topic = bag.topic(name)
    if not topic.is_image:
        msg = f'{name} in {bag.path} is {topic.type}, no image topic'
        raise BagError(msg)
    return topic


def _raw_first(bag: Bag) -> list[Topic]:
    """Return the topics of images, without the compressed twins of raw ones."""
    names = {topic.name for topic in bag.image_topics}
    return [
        topic
        for topic in bag.image_topics
        if topic.name.removesuffix(COMPRESSED) not in names - {topic.name}
    ]


def _only(bag: Bag, found: Sequence[Topic], what: str, option: str) -> Topic:
    if len(found) == 1:
        return found[0]
    if found:
        names = ', '.join(topic.name for topic in found)
        msg = f'{bag.path} has {len(found)} topics of {what}: choose one with {option} ({names})'
        raise BagError(msg)
    names = ', '.join(topic.name for topic in bag.image_topics) or 'none at all'
    msg = f'{bag.path} has no topic of {what}, name it with {option}; its image topics: {names}'
    raise BagError(msg)


def _is_result(name: str) -> bool:
    return _last(name) in RESULTS


def _last(name: str) -> str:
    return name.removesuffix(COMPRESSED).rpartition('/')[2]
