"""Tables of image transports and of a camera's outputs, for the node and for labelled bags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

IMAGE, COMPRESSED_IMAGE = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
FLOAT = 'std_msgs/msg/Float32'
FFMPEG_PACKET = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
COMPRESSED_VIDEO = 'foxglove_msgs/msg/CompressedVideo'
AUTO = 'auto'


class Transport(NamedTuple):
    """Name as in image_transport, message type, and suffix of the topic after that of raw images."""

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


class Output(NamedTuple):
    """One topic: ``~/labels``, or with several cameras ``~/front/labels`` and so on.

    ``codec`` compresses the images of a ``CompressedImage``. A latched message is published once
    and kept for later subscribers.
    """

    name: str
    type: str
    codec: str = ''
    is_latched: bool = False

    @property
    def content(self) -> str:
        """Content regardless of compression: ``labels`` of ``labels/compressed``."""
        return self.name.partition('/')[0]

    @property
    def is_image(self) -> bool:
        """Whether its messages are rendered from labels and image alone."""
        return self.type in {IMAGE, COMPRESSED_IMAGE}

    @property
    def is_recorded(self) -> bool:
        """Whether the bag tools write it; they have neither calibration nor depth."""
        return self.is_image or self.is_latched


OUTPUTS: Mapping[str, Output] = {
    output.name: output
    for output in (
        Output('labels', IMAGE),
        # JPEG would change the class ids
        Output('labels/compressed', COMPRESSED_IMAGE, codec='png'),
        Output('confidence', IMAGE),
        Output('color', IMAGE),
        Output('overlay', IMAGE),
        Output('overlay/compressed', COMPRESSED_IMAGE, codec='jpeg'),
        # of the labels, at their size
        Output('camera_info', CAMERA_INFO),
        Output('points', 'sensor_msgs/msg/PointCloud2'),
        # shares 0..1, where the model tells them; no standard message has a header and a number
        Output('familiarity', FLOAT),
        Output('sureness', FLOAT),
        # the class table, as JSON and for nav2
        Output('classes', 'std_msgs/msg/String', is_latched=True),
        Output('label_info', 'vision_msgs/msg/LabelInfo', is_latched=True),
    )
}


def mask_outputs(name: str) -> tuple[Output, Output]:
    """Return the topics of a mask and of its camera_info: ``mask/traffic_light``."""
    topic = f'mask/{re.sub("[^A-Za-z0-9_]|^(?=[0-9])", "_", name)}'
    return Output(topic, IMAGE), Output(f'{topic}/camera_info', CAMERA_INFO)
