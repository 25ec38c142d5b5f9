"""One function for each boundary: bytes in, and only errors of our own out.

A target turns bytes into what others may send, hands it to the code that takes it in, and checks
what comes out. Whatever it raises is a failure.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
from rosbags.serde import cdr, ros1
from rosbags.serde.utils import compile_lines
from safetensors.numpy import save

from lemore_core.checkpoint import ModelCard, read_card
from lemore_core.cli import main as cli
from lemore_core.common.errors import LemoreError
from lemore_core.common.yaml_file import parse_yaml
from lemore_core.export.model_card import read_model_card
from lemore_core.images.files import KINDS, NUMBERS, decode_image
from lemore_core.images.image import check_pixels
from lemore_core.model.imported import ImportedConfig
from lemore_core.taxonomy import ClassGroups, Taxonomy, load_taxonomy
from lemore_core.training.recipe import Recipe
from lemore_ros.bags.io.reader import open_bag
from lemore_ros.messages.camera_info import rectified_intrinsics
from lemore_ros.messages.compressed import read_compressed
from lemore_ros.messages.depth import to_metres
from lemore_ros.messages.encodings import CONVERTED, DEPTH, VIEWED
from lemore_ros.messages.images import read_image
from lemore_ros.messages.video import VideoReader

MAX_PIXELS = 1_000_000
CAMVID = load_taxonomy('camvid')
MEMORY = Path('/dev/shm')  # nothing waits for a disk there
FOLDER = Path(tempfile.mkdtemp(prefix='lemore_fuzz_', dir=MEMORY if MEMORY.is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
# it looks through all that is installed
cli.entry_points = lru_cache(cli.entry_points)


class Draw:
    """Values out of bytes, the same for the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.random = random.Random(data[:8])
        self.rest = data[8:]

    def number(self) -> int:
        small = self.random.randrange(64)
        return self.random.choice((small, small, small, 0, 1, 2**16, 2**31 - 1, 2**32 - 1))

    def real(self) -> float:
        extreme = (0.0, -1.0, 1e-300, 1e300, float('nan'), float('inf'), float('-inf'))
        return self.random.choice((*extreme, *(self.random.uniform(1, 600) for _ in range(9))))

    def choice(self, values: Sequence[Any]) -> Any:
        return self.random.choice(values)


HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id='\x1b[2J')


def image_message(data: bytes) -> None:
    draw = Draw(data)
    encoding = draw.choice((*VIEWED, *CONVERTED, *DEPTH, '', '\x1b]0;x\7', '8UC17', 'RGB8'))
    height, width = draw.number(), draw.number()
    sizes = (draw.rest, bytes(height * width * draw.choice((1, 2, 3, 4, 6, 8)) % 200_000))
    image = SimpleNamespace(
        height=height,
        width=width,
        step=draw.choice((draw.number(), width, 3 * width, 2 * width, 8 * width)),
        encoding=encoding,
        is_bigendian=draw.choice((0, 1, 255)),
        data=draw.choice(sizes),
        header=HEADER,
    )
    with contextlib.suppress(LemoreError):
        found = read_image(image, MAX_PIXELS)
        check_pixels(found.pixels, found.encoding)
        assert found.pixels.shape[:2] == (height, width)


def compressed_message(data: bytes) -> None:
    draw = Draw(data[:8])
    form = draw.choice(
        ('jpeg', 'png', '', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed rgb8')
    )
    message = SimpleNamespace(format=form, data=data, header=HEADER)
    with contextlib.suppress(LemoreError):
        found = read_compressed(message, MAX_PIXELS)
        check_pixels(found.pixels, found.encoding)
        assert found.pixels.shape[0] * found.pixels.shape[1] <= MAX_PIXELS


def image_file(data: bytes) -> None:
    with contextlib.suppress(LemoreError):
        assert decode_image(data, max_pixels=MAX_PIXELS).shape[2:] == (3,)
    with contextlib.suppress(LemoreError):
        assert decode_image(data, NUMBERS, kinds=KINDS, max_pixels=MAX_PIXELS).ndim in {2, 3}


def camera_info(data: bytes) -> None:
    draw = Draw(data)
    sane = draw.choice((True, False))
    real = (lambda: draw.random.uniform(1, 600)) if sane else draw.real
    roi = SimpleNamespace(
        x_offset=draw.number(), y_offset=draw.number(), height=draw.number(), width=draw.number()
    )
    info = SimpleNamespace(
        height=draw.number(),
        width=draw.number(),
        binning_x=draw.number(),
        binning_y=draw.number(),
        roi=draw.choice((roi, SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0))),
        k=[real() for _ in range(9)],
        p=draw.choice(([real() for _ in range(12)], [0.0] * 12)),
        r=[real() for _ in range(9)],
        d=[real() for _ in range(5)],
    )
    size = draw.choice(((48, 64), (info.height, info.width)))
    with contextlib.suppress(LemoreError):
        found = rectified_intrinsics(info, height=max(1, size[0]), width=max(1, size[1]))
        assert np.isfinite(found).all()
        assert found.fx > 0
        assert found.fy > 0


def depth_message(data: bytes) -> None:
    draw = Draw(data)
    height, width = draw.number(), draw.number()
    encoding = draw.choice((*DEPTH, 'mono8', ''))
    bytes_per_pixel = 4 if encoding == '32FC1' else 2
    depth = SimpleNamespace(
        height=height,
        width=width,
        step=draw.choice((width * bytes_per_pixel, draw.number())),
        encoding=encoding,
        is_bigendian=draw.choice((0, 1)),
        data=(draw.rest * 200)[: height * width * bytes_per_pixel % 100_000],
        header=HEADER,
    )
    with contextlib.suppress(LemoreError):
        metres = to_metres(depth)
        assert metres.shape == (height, width)
        assert not np.isinf(metres).any()
        assert not (metres <= 0).any()


def compressed_depth(data: bytes) -> None:
    draw = Draw(data[:8])
    form = draw.choice(('16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1', 'x;'))
    message = SimpleNamespace(format=form, data=data, header=HEADER)
    with contextlib.suppress(LemoreError):
        metres = to_metres(message, MAX_PIXELS)
        assert metres.size <= MAX_PIXELS
        assert not (metres <= 0).any()


def encoded_video(data: bytes) -> None:
    # which codec a seed is of, and where its second packet begins
    codec, length = ('h264', 'h265')[data[:1] == b'1'], int.from_bytes(data[1:3], 'big')
    reader, packets = VideoReader(), data[3:]
    for part in (packets[:length], packets[length:], packets[:length]):
        with contextlib.suppress(LemoreError):
            message = SimpleNamespace(encoding=codec, data=part, header=HEADER)
            found = reader.read(message, MAX_PIXELS)
            assert found.pixels.shape[0] * found.pixels.shape[1] <= MAX_PIXELS


def yaml_file(data: bytes) -> None:
    with contextlib.suppress(LemoreError):
        values = parse_yaml(data, 'x', LemoreError)
        for read in (
            lambda: Taxonomy.from_dict(values, 'x'),
            lambda: ClassGroups.from_dict(values, CAMVID, 'x'),
            lambda: Recipe.from_dict(values, 'x'),
        ):
            with contextlib.suppress(LemoreError):
                found = read()
                if isinstance(found, Taxonomy):
                    assert Taxonomy.from_dict(found.to_dict(), 'x') == found


def checkpoint(data: bytes) -> None:
    path = FOLDER / 'a.safetensors'
    path.write_bytes(data)
    with contextlib.suppress(LemoreError):
        card = read_card(path)
        assert min(card.std) > 0
        json.dumps(card.to_metadata())


def onnx_card(data: bytes) -> None:
    path = FOLDER / 'a.onnx'
    path.write_bytes(data)
    with contextlib.suppress(LemoreError):
        assert read_model_card(path).config.classes > 1


@lru_cache(maxsize=256)
def _compiled(text: str) -> ModuleType:
    return compile_lines([text])


# what rosbags compiles for the types of every bag anew; its functions keep nothing
for _module in (cdr, ros1):
    _module.compile_lines = lambda lines: _compiled('\n'.join(lines))


def bag(data: bytes) -> None:
    kind = ('.mcap', '.db3', '.bag')[data[0] % 3] if data else '.mcap'
    if data.startswith((b'\x89MCAP', b'SQLite', b'#ROSBAG')):
        kind = {0x89: '.mcap', 0x53: '.db3', 0x23: '.bag'}[data[0]]
    path = FOLDER / f'a{kind}'
    path.write_bytes(data)
    with contextlib.suppress(LemoreError), open_bag(path) as opened:
        for topic in opened.image_topics:
            for decoded in opened.frames(topic):
                assert decoded.record.time_ns >= 0
        for record in opened.messages():
            with contextlib.suppress(LemoreError):
                assert record.message is not None


SPOKEN = """
    info predict taxonomy data bag engine show export import check segment evaluate list
    --model tiny nano --dataset camvid mars --json --output -o --alpha nan 0.5 -1 1e999
    --frames ² 0 --height --width 64 --max-pixels gone.png gone.safetensors -- --help
    --skip --topic --without frontal \x1b[2J /dev/null /proc/self/mem --min-confidence
    --device cuda:² cpu é
"""
WORDS = SPOKEN.split()
# what takes long when its arguments are right
LONG = {'train', 'cross-validate', 'benchmark', 'research'}


def arguments(data: bytes) -> None:
    draw = Draw(data)
    argv = [draw.choice(WORDS) for _ in range(draw.random.randrange(1, 7))]
    tail = draw.rest[:12].decode(errors='surrogateescape').replace('\0', '')
    argv = [draw.choice((word, word, word, word, word, tail)) for word in argv]
    exports = 'export' in argv and '--model' not in argv
    if exports or LONG & set(argv) or any(word.isdecimal() for word in argv[1:2]):
        return
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(argv)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
    assert status in {0, 1, 2, 3}, (argv, err.getvalue())
    assert 'Traceback' not in err.getvalue()


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        image_message,
        compressed_message,
        image_file,
        camera_info,
        depth_message,
        compressed_depth,
        encoded_video,
        yaml_file,
        checkpoint,
        onnx_card,
        bag,
        arguments,
    )
}


@lru_cache
def seeds(name: str) -> list[bytes]:
    """Return what is mutated: small files that are right, and those that once failed."""
    made = {
        'compressed_message': _images,
        'image_file': _images,
        'compressed_depth': _depths,
        'encoded_video': _videos,
        'yaml_file': _yaml,
        'checkpoint': _checkpoints,
        'onnx_card': _onnx,
        'bag': _bags,
    }.get(name, lambda: [bytes(40)])()
    found = sorted((Path(__file__).parent / 'seeds' / name).glob('*'))
    return [*made, *(path.read_bytes() for path in found)]


def _images() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    suffixes = ('.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm')
    grey = [cv2.imencode(suffix, noise[..., 0])[1].tobytes() for suffix in ('.jpg', '.png')]
    progressive = cv2.imencode('.jpg', noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return [*(cv2.imencode(s, noise)[1].tobytes() for s in suffixes), *grey, progressive]


def _depths() -> list[bytes]:
    steps = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
    return [struct.pack('<iff', 0, 1e4, 1.0) + cv2.imencode('.png', steps)[1].tobytes()]


def _videos() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    made = []
    for codec, name in enumerate(('libx264', 'libx265')):
        encoder = av.CodecContext.create(name, 'w')
        encoder.height = encoder.width = 64
        encoder.pix_fmt, encoder.time_base = 'yuv420p', Fraction(1, 30)
        encoder.options = {
            'preset': 'ultrafast',
            'tune': 'zerolatency',
            'x265-params': 'log-level=0',
        }
        images = [av.VideoFrame.from_ndarray(noise // (1 + i), 'rgb24') for i in range(2)]
        for pts, image in enumerate(images):
            image.pts = pts
        first, second = (bytes(p) for image in (*images, None) for p in encoder.encode(image))
        made.append(str(codec).encode() + len(first).to_bytes(2, 'big') + first + second)
    return made


def _yaml() -> list[bytes]:
    root = Path(__file__).parents[3] / 'lemore_core'
    files = ('taxonomy/camvid.yaml', 'taxonomy/groups/camvid.yaml', 'training/recipes/camvid.yaml')
    aliases = (
        b'a: &a [x, x]\nb: &b [*a, *a]\nc: {<<: {d: 1}, e: *b, f: 2026-01-01, g: 0x1f, h: 1:59}'
    )
    return [*((root / file).read_bytes() for file in files), aliases]


def _card() -> dict[str, str]:
    return ModelCard('x', ImportedConfig(11, 8, 8), CAMVID, 'CC0').to_metadata()


def _checkpoints() -> list[bytes]:
    return [save({'a': np.zeros(2, np.float32)}, _card())]


def _onnx() -> list[bytes]:
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in 'ab']
    node = helper.make_node('Identity', ['a'], ['b'])
    graph = helper.make_graph([node], 'g', ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    helper.set_model_props(model, _card())
    return [bytes(model.SerializeToString())]


def _bags() -> list[bytes]:
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store, found = get_typestore(Stores.ROS2_JAZZY), []
    kind = 'sensor_msgs/msg/Image'
    types = store.types
    head = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](1, 2), 'cam')
    data = store.serialize_cdr(
        types[kind](head, 4, 4, 'bgr8', 0, 12, np.arange(48, dtype=np.uint8)), kind
    )
    for plugin, mode in (
        (StoragePlugin.MCAP, CompressionMode.NONE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    ):
        folder = Path(tempfile.mkdtemp(dir=FOLDER)) / 'bag'
        writer = Writer(folder, version=9, storage_plugin=plugin)
        if mode is not CompressionMode.NONE:
            writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            topic = writer.add_connection('/image', kind, typestore=store)
            for time in range(1, 4):
                writer.write(topic, time, data)
        found += [path.read_bytes() for path in folder.iterdir() if path.suffix != '.yaml']
    store1 = get_typestore(Stores.ROS1_NOETIC)
    path = FOLDER / 'seed.bag'
    path.unlink(missing_ok=True)
    with Writer1(path) as old:
        text = old.add_connection('/text', 'std_msgs/msg/String', typestore=store1)
        message = store1.types['std_msgs/msg/String']('hello')
        for time in range(1, 4):
            old.write(text, time, store1.serialize_ros1(message, 'std_msgs/msg/String'))
    return [*found, path.read_bytes()]


def mutated(seed: bytes, random: random.Random) -> bytes:
    """Return a seed with a few of the changes that break readers."""
    data = bytearray(seed)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        place = random.randrange(len(data) + 1)
        how = random.randrange(7)
        if how == 0 and data:
            data[place % len(data)] ^= 1 << random.randrange(8)
        elif how == 1:
            data[place : place + 4] = struct.pack('<I', random.choice((0, 1, 2**31, 2**32 - 1)))
        elif how == 2:
            data[place : place + 4] = struct.pack('>I', random.choice((0, 1, 2**31 - 1, 2**32 - 1)))
        elif how == 3:
            del data[place : place + random.choice((1, 4, 64, len(data)))]
        elif how == 4:
            length = random.choice((1, 8, 200))
            data[place:place] = data[max(0, place - length) : place] or bytes(length)
        elif how == 5:
            data[place : place + 32] = bytes(len(data[place : place + 32]))
        else:
            data[place:place] = random.choice(
                (b'\xff', b'"', b'[', b'{', b'&a', b'*a', b'1e999', b'-')
            )
    return bytes(data)
