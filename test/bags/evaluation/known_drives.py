"""Short drives whose figures are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lemore_core.taxonomy import load_taxonomy
from lemore_ros.messages.rendering import classes_json
from test.bags.conftest import COMPRESSED, IMAGE, STORE, STRING, TYPES, BagFolder, header

HEIGHT, WIDTH = 48, 64
START_NS = 1_700_000_000 * 10**9
STEP_NS = 100_000_000
BUILDING, ROAD, CAR = 1, 3, 8
CONFIDENCE = 204  # 80 %
CAMERA, NODE = '/camera/image_raw', '/lemore_segmentation'
TRUTH = '/truth/labels'


class Message(NamedTuple):
    """A message to write: ``pixels`` as an image of ``encoding``, png for a compressed one."""

    topic: str
    stamp_ns: int
    pixels: NDArray[Any] | str
    encoding: str = 'mono8'
    received_ns: int | None = None


def write_messages(path: Path, messages: Sequence[Message]) -> Path:
    """Write messages into a bag, received when they are stamped where nothing else is said."""
    rows = []
    for message in messages:
        built = build(message)
        received = message.stamp_ns if message.received_ns is None else message.received_ns
        data = bytes(STORE.serialize_cdr(built, built.__msgtype__))
        rows.append((message.topic, built.__msgtype__, received, data))
    return BagFolder(path.parent).write(rows, path.name)


def build(message: Message) -> Any:
    if isinstance(message.pixels, str):
        return TYPES[STRING](message.pixels)
    own, pixels = header(message.stamp_ns), np.ascontiguousarray(message.pixels)
    if message.encoding == 'png':
        data = cv2.imencode('.png', pixels)[1].ravel()
        return TYPES[COMPRESSED](own, 'mono8; png compressed ', data)
    size, step = pixels.shape[:2], pixels.strides[0]
    data = pixels.reshape(-1).view(np.uint8)
    return TYPES[IMAGE](own, *size, message.encoding, 0, step, data)


def true_labels() -> NDArray[np.uint8]:
    """Road on the left and car on the right."""
    labels = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    labels[:, WIDTH // 2 :] = CAR
    return labels


def said_labels(mistakes: float = 0.5) -> NDArray[np.uint8]:
    """Say building instead of car in that share of the rows, the upper ones."""
    labels = true_labels()
    labels[: round(mistakes * HEIGHT), WIDTH // 2 :] = BUILDING
    return labels


def image(step: int = 0) -> NDArray[np.uint8]:
    """Give a textured BGR image, the same at every step, and brighter at later ones."""
    coarse = np.random.default_rng(3).integers(0, 200, (6, 8, 3), np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth + np.uint8(step), np.uint8)


def drive_messages(mistakes: Sequence[float]) -> list[Message]:
    """One frame for each share of mistakes, its labels, confidence and truth, and the classes."""
    messages = [
        Message(f'{NODE}/classes', START_NS, classes_json(load_taxonomy('camvid')), '', START_NS)
    ]
    for step, share in enumerate(mistakes):
        stamp = START_NS + step * STEP_NS
        sure = np.full((HEIGHT, WIDTH), CONFIDENCE, np.uint8)
        messages += [
            Message(CAMERA, stamp, image(step), 'bgr8'),
            Message(f'{NODE}/labels', stamp, said_labels(share), 'mono8', stamp + 20_000_000),
            Message(f'{NODE}/confidence', stamp, sure, 'mono8', stamp + 20_000_000),
            Message(TRUTH, stamp, true_labels()),
        ]
    return sorted(messages, key=lambda m: m.received_ns or m.stamp_ns)
