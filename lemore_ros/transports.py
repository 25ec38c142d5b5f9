"""The forms in which a camera's images come, called as the plugins of image_transport are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lemore_ros.outputs import COMPRESSED_IMAGE, IMAGE

FFMPEG_PACKET = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
COMPRESSED_VIDEO = 'foxglove_msgs/msg/CompressedVideo'
AUTO = 'auto'
COMPRESSED_DEPTH = 'compressedDepth'


class Transport(NamedTuple):
    """A form: the type of its messages, and what follows the name of the raw images' topic."""

    name: str
    type: str
    suffix: str

    @property
    def package(self) -> str:
        """The package of its messages."""
        return self.type.partition('/')[0]

    @property
    def is_video(self) -> bool:
        """Whether an image is made of the messages before it, too."""
        return self.type in {FFMPEG_PACKET, COMPRESSED_VIDEO}


# the first ones are taken where several are offered
TRANSPORTS: Mapping[str, Transport] = {
    transport.name: transport
    for transport in (
        Transport('raw', IMAGE, ''),
        Transport('compressed', COMPRESSED_IMAGE, '/compressed'),
        Transport('ffmpeg', FFMPEG_PACKET, '/ffmpeg'),
        Transport('foxglove', COMPRESSED_VIDEO, '/foxglove'),
    )
}
BY_TYPE: Mapping[str, Transport] = {transport.type: transport for transport in TRANSPORTS.values()}
