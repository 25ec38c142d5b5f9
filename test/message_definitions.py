"""Messages of packages without a wheel, as vision_msgs 4, ffmpeg_image_transport_msgs and foxglove_msgs define them."""

from collections.abc import Mapping

DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    'vision_msgs': {
        'VisionClass': 'uint16 class_id\nstring class_name\n',
        'LabelInfo': (
            'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
        ),
    },
    'ffmpeg_image_transport_msgs': {
        'FFMPEGPacket': (
            'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n'
            'uint8 flags\nbool is_bigendian\nuint8[] data\n'
        ),
    },
    'foxglove_msgs': {
        'CompressedVideo': (
            'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n'
        ),
    },
}
