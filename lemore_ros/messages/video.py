"""Encoded video to images: ``FFMPEGPacket`` of ffmpeg_image_transport, ``CompressedVideo`` of Foxglove."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lemore_core.common.errors import LemoreError
from lemore_core.common.limits import MAX_PIXELS
from lemore_core.images.image import Image
from lemore_ros.messages.encodings import ImageError, encoding_of

if TYPE_CHECKING:
    from lemore_core.images.video_stream import VideoStream

# the names of encoders (libx264, hevc_nvenc, …) hold what they encode
NAMES = {'264': 'h264', 'avc': 'h264', '265': 'hevc', 'hevc': 'hevc'}


class VideoReader:
    """Reads the messages of one topic, all of them and in their order: an image needs those before."""

    def __init__(self) -> None:
        self._codec = ''
        self._stream: VideoStream | None = None

    def read(self, message: Any, max_pixels: int = MAX_PIXELS) -> Image:
        """Decode a message to an image of bgr8, with the header of the message.

        Raises:
            ImageError: the codec is none of H.264 and H.265 or is not installed, the image is
                damaged or too large, or the stream waits for its next key frame.
        """
        header = message_header(message)
        try:
            stream = self._opened(codec_of(message), max_pixels)
            return Image(stream.decode(bytes(message.data)), 'bgr8', header)
        except LemoreError as error:
            raise ImageError(str(error)) from error

    def skip(self, message: Any, max_pixels: int = MAX_PIXELS) -> None:
        """Decode a message whose image nobody needs, but those after it."""
        with suppress(ImageError):  # the next one that is read says so
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


def codec_of(message: Any) -> str:
    """Return the codec of a message, h264 or hevc.

    Raises:
        ImageError: it is another one.
    """
    # FFMPEGPacket: the encoder or codec, and what follows semicolons is about pixels
    text = encoding_of(message)
    name = text.partition(';')[0].lower()
    for part, codec in NAMES.items():
        if part in name:
            return codec
    msg = f'video of {text!r} is not read, allowed: h264, h265'
    raise ImageError(msg)


def message_header(message: Any) -> Any:
    """Return the header of a message; that of a CompressedVideo is made of its own fields."""
    if hasattr(message, 'header'):
        return message.header
    if type(message.timestamp).__module__.startswith('builtin_interfaces.'):
        from std_msgs.msg import Header

        return Header(stamp=message.timestamp, frame_id=message.frame_id)
    # a bag's, where no ROS is installed
    return SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)
