"""Supported image transports, named as in image_transport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lemore_ros.outputs import COMPRESSED_IMAGE, IMAGE

FFMPEG_PACKET = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
COMPRESSED_VIDEO = 'foxglove_msgs/msg/CompressedVideo'
AUTO = 'auto'


class Transport(NamedTuple):
    """Name, message type, and suffix of the topic after that of raw images."""

    name: str
    type: str
    suffix: str

    @property
    def package(self) -> str:
        """Package of its messages."""
        return self.type.partition('/')[0]

    @property
    def is_video(self) -> bool:
        """Whether images depend on earlier messages."""
        return self.type in {FFMPEG_PACKET, COMPRESSED_VIDEO}


# the first one published is used in auto mode
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
