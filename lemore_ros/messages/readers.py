"""Read the messages of an image topic: raw, JPEG or PNG, and encoded video.

Video is ``FFMPEGPacket`` of ffmpeg_image_transport, or ``CompressedVideo`` of Foxglove.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import Image
from lemore_ros.messages.images import ImageError, encoding_of, read_compressed, read_image
from lemore_ros.outputs import BY_TYPE, COMPRESSED_IMAGE

if TYPE_CHECKING:
    from lemore_core.images.video_stream import VideoStream

# the names of encoders (libx264, hevc_nvenc, …) hold what they encode
CODECS = {'264': 'h264', 'avc': 'h264', '265': 'hevc', 'hevc': 'hevc'}


def make_reader(kind: str) -> ImageReader | VideoReader:
    """Return a reader for one topic of messages such as ``sensor_msgs/msg/Image``."""
    if BY_TYPE[kind].is_video:
        return VideoReader()
    return ImageReader(read_compressed if kind == COMPRESSED_IMAGE else read_image)


@dataclass(frozen=True)
class ImageReader:
    """Read messages that each hold a whole image."""

    read: Callable[[Any, int], Image]

    def skip(self, message: Any, max_pixels: int = MAX_PIXELS) -> None:
        """Do nothing: no other image depends on this one."""


class VideoReader:
    """Read all messages of one topic in their order: an image depends on those before it."""

    def __init__(self) -> None:
        self._codec = ''
        self._stream: VideoStream | None = None

    def read(self, message: Any, max_pixels: int = MAX_PIXELS) -> Image:
        """Decode a message to an image of bgr8, with the header of the message.

        Raises:
            ImageError: the codec is neither H.264 nor H.265 or is not installed, the image is
                damaged or too large, or the stream waits for its next key frame.
        """
        header = message_header(message)
        try:
            stream = self._opened(_codec_of(message), max_pixels)
            return Image(stream.decode(bytes(message.data)), 'bgr8', header)
        except LemoreError as error:
            raise ImageError(str(error)) from error

    def skip(self, message: Any, max_pixels: int = MAX_PIXELS) -> None:
        """Feed the decoder without returning the image."""
        with suppress(ImageError):  # the next message that is read reports it
            self.read(message, max_pixels)

    def _opened(self, codec: str, max_pixels: int) -> VideoStream:
        if self._stream is None or codec != self._codec:
            try:
                from lemore_core.images.video_stream import VideoStream
            except ImportError as error:
                msg = f'{codec} is decoded by PyAV, which is not installed: pip install av'
                raise ImageError(msg) from error
            self._stream, self._codec = VideoStream(codec, max_pixels), codec
        return self._stream


def message_header(message: Any) -> Any:
    """Return the header of a message, made of the fields of a ``CompressedVideo``."""
    if hasattr(message, 'header'):
        return message.header
    if type(message.timestamp).__module__.startswith('builtin_interfaces.'):
        from std_msgs.msg import Header

        return Header(stamp=message.timestamp, frame_id=message.frame_id)
    # a bag's, where no ROS is installed
    return SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)


def _codec_of(message: Any) -> str:
    # FFMPEGPacket: the encoder or codec, then what its pixels are
    text = encoding_of(message)
    name = text.partition(';')[0].lower()
    for part, codec in CODECS.items():
        if part in name:
            return codec
    msg = f'video of {text!r} is not read, allowed: h264, h265'
    raise ImageError(msg)
