"""Which topics of a bag are labels, and what these mean."""

from __future__ import annotations

from lemore_core.errors import LemoreError
from lemore_core.system.json_text import parse_json
from lemore_core.taxonomy import Taxonomy, load_taxonomy
from lemore_ros.bags.cameras import CLASSES, COMPRESSED, image_topic, raw_first, result_topics
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io.bag import Bag
from lemore_ros.bags.io.topics import Topic

LABELS = 'labels'


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


def _called_labels(bag: Bag) -> list[Topic]:
    return [
        topic
        for topic in raw_first(bag)
        if topic.name.removesuffix(COMPRESSED).rpartition('/')[2] == LABELS
    ]
