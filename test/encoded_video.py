"""Video as cameras send it, by the encoders that PyAV brings."""

from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from lemore_core.images.video import H264, H265

ENCODERS = {H264: 'libx264', H265: 'libx265'}
GOP = 4
Frames = list[NDArray[np.uint8]]


def packets_of(
    frames: Frames, codec: str, *, b_frames: int = 0, kind: str = 'rgb24'
) -> list[bytes]:
    """Encode frames, a key frame every ``GOP``."""
    encoder = av.CodecContext.create(ENCODERS[codec], 'w')
    height, encoder.width = frames[0].shape[:2]
    encoder.height = height if kind == 'rgb24' else height * 2 // 3
    encoder.pix_fmt = 'yuv420p' if kind == 'rgb24' else kind
    encoder.time_base, encoder.gop_size = Fraction(1, 30), GOP
    encoder.max_b_frames = b_frames
    keys = f'keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes={b_frames}:log-level=error'
    encoder.options = {
        'preset': 'ultrafast',
        'crf': '15',
        'x264-params' if codec == H264 else 'x265-params': keys,
        **({} if b_frames else {'tune': 'zerolatency'}),
    }
    encoder.flags &= ~Flags.global_header
    packets = []
    for index, frame in enumerate([*frames, None]):
        image = None if frame is None else av.VideoFrame.from_ndarray(frame, kind)
        if image is not None:
            image.pts = index
        packets += [bytes(packet) for packet in encoder.encode(image)]
    return packets
