"""Decode H.264 and H.265 of cameras: one image a packet."""

from __future__ import annotations

import re

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from lemore_core.images.video import VideoError

H264, H265 = 'h264', 'hevc'
# the start of a unit and its type, Annex B of both
_NAL = re.compile(rb'\x00\x00\x01(.)', re.DOTALL)
# parameter sets and key frames: H.264 table 7-1, H.265 table 7-1
_H264_KEY = {5, 7}
_H265_KEY = {*range(16, 22), 33}


class VideoStream:
    """Decoder of one stream's packets, in their order; B-frames are not supported.

    ``codec`` is ``H264`` or ``H265``. Decoding begins at a key frame, and after damage at the
    next one: FFmpeg would make up images that refer to missing ones.
    """

    def __init__(self, codec: str, max_pixels: int) -> None:
        self._codec = codec
        self._max_pixels = max_pixels
        self._waits = True
        self._open()

    def decode(self, packet: bytes) -> NDArray[np.uint8]:
        """Return the image of a packet, BGR (H, W, 3) uint8.

        Raises:
            VideoError: the packet is damaged, holds no image or several, or comes before the
                next key frame.
        """
        if self._waits and not is_key(self._codec, packet):
            msg = 'the video begins between two key frames: waits for the next one'
            raise VideoError(msg)
        try:
            images = self._context.decode(av.Packet(packet))
        except (av.FFmpegError, ValueError) as error:
            self._open()
            msg = f'{len(packet)} bytes are no image of {self._codec}: {error}'
            raise VideoError(msg) from error
        if len(images) != 1 or images[0].is_corrupt:
            self._open()
            what = 'a damaged image' if images else 'no image, or one that needs later packets'
            msg = f'{len(packet)} bytes of {self._codec} hold {what}: waits for the next key frame'
            raise VideoError(msg)
        self._waits = False
        return np.asarray(images[0].to_ndarray(format='bgr24'), np.uint8)

    def _open(self) -> None:
        try:
            self._context = av.CodecContext.create(self._codec, 'r')
        except (av.FFmpegError, ValueError) as error:
            msg = (
                f'the FFmpeg of this PyAV has no decoder for {self._codec} ({error}): '
                'pip install --upgrade av'
            )
            raise VideoError(msg) from error
        self._context.options = {'max_pixels': str(self._max_pixels)}
        # return an image with its packet, not after later ones
        self._context.flags |= Flags.low_delay
        self._context.thread_count = 1
        self._waits = True


def is_key(codec: str, packet: bytes) -> bool:
    """Return whether decoding may begin with a packet."""
    units = [found[1][0] for found in _NAL.finditer(packet)]
    if codec == H264:
        return any(unit & 0x1F in _H264_KEY for unit in units)
    return any((unit >> 1) & 0x3F in _H265_KEY for unit in units)
