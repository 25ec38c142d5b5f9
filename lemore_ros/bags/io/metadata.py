"""The metadata of a bag of several files, from those of its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lemore_core.common.files import write_whole

METADATA = 'metadata.yaml'
INFORMATION = 'rosbag2_bagfile_information'
START, SINCE = 'starting_time', 'nanoseconds_since_epoch'


def merge(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what ``metadata.yaml`` says of a bag that consists of ``files``, all of one kind.

    Each is the information of a bag of one file; files without messages must not be among them,
    unless it is the only one.
    """
    starts = [about[START][SINCE] for about in files]
    ends = [s + about['duration']['nanoseconds'] for s, about in zip(starts, files, strict=True)]
    counts = Counter[tuple[str, str]]()
    for about in files:
        for topic in about['topics_with_message_count']:
            counts[_key(topic)] += topic['message_count']
    topics = [
        {**topic, 'message_count': counts[_key(topic)]}
        for topic in files[0]['topics_with_message_count']
    ]
    return {
        **files[0],
        'relative_file_paths': [path for about in files for path in about['relative_file_paths']],
        'duration': {'nanoseconds': max(ends) - min(starts)},
        START: {SINCE: min(starts)},
        'message_count': sum(about['message_count'] for about in files),
        'topics_with_message_count': topics,
        'files': [file for about in files for file in about['files']],
    }


def write(folder: Path, about: dict[str, Any]) -> None:
    """Write ``metadata.yaml`` into ``folder``."""
    write_whole(folder / METADATA, yaml.safe_dump({INFORMATION: about}, sort_keys=False))


def _key(topic: dict[str, Any]) -> tuple[str, str]:
    return topic['topic_metadata']['name'], topic['topic_metadata']['type']
