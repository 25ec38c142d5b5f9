"""Targets of the fuzzer: each gives bytes to one boundary and raises for a failure."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import random
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
from rosbags.serde import cdr, ros1
from rosbags.serde.utils import compile_lines
from safetensors.numpy import save

from lemore_core.checkpoint import ModelCard, read_card
from lemore_core.cli import main as cli
from lemore_core.common.errors import LemoreError
from lemore_core.common.validation import from_mapping
from lemore_core.common.yaml_file import parse_yaml
from lemore_core.export.onnx_file import read_model_card
from lemore_core.images.files import decode_image
from lemore_core.images.image import check_pixels
from lemore_core.model.imported import ImportedConfig
from lemore_core.taxonomy import ClassGroups, Taxonomy, load_taxonomy
from lemore_core.training.recipe import Recipe
from lemore_ros.bags.reader import open_bag
from lemore_ros.messages.camera_info import rectified_intrinsics
from lemore_ros.messages.images import VideoReader, read_compressed, read_image
from lemore_ros.messages.point_cloud import to_metres

MAX_PIXELS = 1_000_000
CAMVID = load_taxonomy('camvid')
SEEDS = Path(__file__).parent / 'seeds'
MEMORY = Path('/dev/shm')  # nothing waits for a disk there
FOLDER = Path(tempfile.mkdtemp(prefix='lemore_fuzz_', dir=MEMORY if MEMORY.is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
# it searches all installed packages
cli.entry_points = lru_cache(cli.entry_points)

HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id='\x1b[2J')
NAMED = """
    bgr8 rgb8 bgra8 rgba8 mono8 8UC1 8UC3 8UC4 bayer_rggb8 bayer_gbrg16 yuv422 yuv422_yuy2 uyvy yuyv
    nv12 nv21 nv24 mono16 bgr16 rgba16 16UC1 32FC1 8UC17 RGB8 \x1b]0;x\7
"""
IMAGE_FORMATS = """
jpeg
png
x;
rgb8; jpeg compressed bgr8
bgr8; png compressed rgb8
16UC1; compressedDepth png
32FC1; compressedDepth
"""
SPOKEN = """
    info predict taxonomy data bag engine show export import check segment evaluate list
    --model tiny nano --dataset camvid mars --json --output -o --alpha nan 0.5 -1 1e999
    --frames ² 0 --height --width 64 --max-pixels gone.png gone.safetensors -- --help
    --skip --topic --without frontal \x1b[2J /dev/null /proc/self/mem --min-confidence
    --device cuda:² cpu é
"""
ENCODINGS, WORDS = NAMED.split(), SPOKEN.split()


def message(data: bytes) -> None:
    draw = random.Random(data[:8])

    is_usual = draw.random() < 0.5

    def number() -> int:
        extreme = (0, 1, 2**16, 2**31 - 1, 2**32 - 1)
        return draw.randrange(1, 64) if is_usual else draw.choice(extreme)

    def real() -> float:
        extreme = (0.0, -1.0, 1e-300, 1e300, float('nan'), float('inf'), float('-inf'))
        return draw.uniform(1, 600) if is_usual else draw.choice((*extreme, 500.0))

    height, width = number(), number()
    image = SimpleNamespace(
        height=height,
        width=width,
        step=draw.choice((number(), *(width * n for n in (1, 2, 3, 4, 8)))),
        encoding=draw.choice((*ENCODINGS, '')),
        is_bigendian=draw.choice((0, 1, 255)),
        data=draw.choice((data[8:], bytes(height * width * draw.choice((1, 2, 3, 4)) % 200_000))),
        header=HEADER,
    )
    size, binning = ('height', 'width'), ('binning_x', 'binning_y')
    matrices, some = (('k', 9), ('p', 12), ('r', 9), ('d', 5)), draw.choice((0, 1))
    camera = SimpleNamespace(
        roi=SimpleNamespace(**{name: some * number() for name in (*size, 'x_offset', 'y_offset')}),
        **{name: number() for name in size},
        **{name: some * number() for name in binning},
        **{name: [real() for _ in range(n)] for name, n in matrices},
        distortion_model='plumb_bob',
    )
    with contextlib.suppress(LemoreError):
        found = read_image(image, MAX_PIXELS)
        check_pixels(found.pixels, found.encoding)
        assert found.pixels.shape[:2] == (height, width)
    with contextlib.suppress(LemoreError):
        metres = to_metres(image)
        assert metres.shape == (height, width)
        assert not (np.isinf(metres) | (metres <= 0)).any()
    with contextlib.suppress(LemoreError):
        rows, columns = draw.choice(((48, 64), (camera.height or 1, camera.width or 1)))
        intrinsics = rectified_intrinsics(camera, height=rows, width=columns)
        assert np.isfinite(intrinsics).all()
        assert min(intrinsics.fx, intrinsics.fy) > 0


def image_file(data: bytes) -> None:
    with contextlib.suppress(LemoreError):
        assert decode_image(data, max_pixels=MAX_PIXELS).shape[2:] == (3,)
    for form in IMAGE_FORMATS.splitlines():
        compressed = SimpleNamespace(format=form, data=data, header=HEADER)
        with contextlib.suppress(LemoreError):
            found = read_compressed(compressed, MAX_PIXELS)
            check_pixels(found.pixels, found.encoding)
            assert found.pixels.shape[0] * found.pixels.shape[1] <= MAX_PIXELS


def encoded_video(data: bytes) -> None:
    # the codec of a seed, and where its second packet begins
    codec, length = ('h264', 'h265')[data[:1] == b'1'], int.from_bytes(data[1:3], 'big')
    reader, packets = VideoReader(), data[3:]
    for part in (packets[:length], packets[length:], packets[:length]):
        with contextlib.suppress(LemoreError):
            packet = SimpleNamespace(encoding=codec, data=part, header=HEADER)
            found = reader.read(packet, MAX_PIXELS)
            assert found.pixels.shape[0] * found.pixels.shape[1] <= MAX_PIXELS


def yaml_file(data: bytes) -> None:
    with contextlib.suppress(LemoreError):
        values = parse_yaml(data, 'x', LemoreError)
        with contextlib.suppress(LemoreError):
            ClassGroups.from_dict(values, CAMVID, 'x')
        with contextlib.suppress(LemoreError):
            from_mapping(Recipe, values, 'x', LemoreError)
        found = Taxonomy.from_dict(values, 'x')
        assert Taxonomy.from_dict(found.to_dict(), 'x') == found


def card(data: bytes) -> None:
    path, read = FOLDER / 'a.onnx', read_model_card
    if data[8:9] == b'{':
        path, read = FOLDER / 'a.safetensors', read_card
    path.write_bytes(data)
    with contextlib.suppress(LemoreError):
        found = read(path)
        assert found.config.classes > 1
        assert min(found.std) > 0
        json.dumps(found.to_metadata())


@lru_cache(maxsize=256)
def _compiled(text: str) -> ModuleType:
    return compile_lines([text])


# rosbags compiles the types of every bag anew; the functions keep nothing
for _module in (cdr, ros1):
    _module.compile_lines = lambda lines: _compiled('\n'.join(lines))


def bag(data: bytes) -> None:
    kinds = {0x89: '.mcap', 0x53: '.db3', 0x23: '.bag'}
    path = FOLDER / f'a{kinds.get(data[0] if data else 0, ".mcap")}'
    path.write_bytes(data)
    with contextlib.suppress(LemoreError), open_bag(path) as opened:
        for topic in opened.image_topics:
            for record, _ in opened.frames(topic):
                assert record.time_ns >= 0
        for record in opened.messages():
            with contextlib.suppress(LemoreError):
                assert record.message is not None


def arguments(data: bytes) -> None:
    draw = random.Random(data[:8])
    tail = data[8:20].decode(errors='surrogateescape').replace('\0', '')
    argv = [draw.choice((*WORDS, tail)) for _ in range(draw.randrange(1, 7))]
    # these write into the package, open a camera, or list this machine's disk
    if (
        any(path.is_dir() and not path.resolve().is_relative_to(FOLDER) for path in map(Path, argv))
        or ('export' in argv and '--model' not in argv)
        or ''.join(argv[1:2]).isdecimal()
    ):
        return
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(argv)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
    assert status in {0, 1, 2, 3}, (argv, err.getvalue())
    assert 'Traceback' not in err.getvalue()


def _yaml() -> list[bytes]:
    root = Path(__file__).parents[3] / 'lemore_core'
    files = ('taxonomy/camvid.yaml', 'taxonomy/groups/camvid.yaml', 'training/recipes/camvid.yaml')
    aliases = b'a: &a [x, x]\nb: [*a, *a]\nc: {<<: {d: 1}, f: 2026-01-01, g: 0x1f, h: 1:59}'
    return [*((root / file).read_bytes() for file in files), aliases]


def _cards() -> list[bytes]:
    from onnx import TensorProto, helper

    about = ModelCard('x', ImportedConfig(11, 8, 8), CAMVID, 'CC0').to_metadata()
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in 'ab']
    node = helper.make_node('Identity', ['a'], ['b'])
    model = helper.make_model(helper.make_graph([node], 'g', ports[:1], ports[1:]))
    helper.set_model_props(model, about)
    return [save({'a': np.zeros(2, np.float32)}, about), model.SerializeToString()]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (message, image_file, encoded_video, yaml_file, card, bag, arguments)
}


@lru_cache
def seeds(name: str) -> list[bytes]:
    """Return small correct files, and the inputs that once failed."""
    made = {'yaml_file': _yaml, 'card': _cards}.get(name, list)()
    kept = [path.read_bytes() for path in sorted((SEEDS / name).glob('*'))]
    return [*made, *kept] or [bytes([i] * 40) for i in range(8)]


def mutated(seed: bytes, draw: random.Random) -> bytes:
    """Return a seed with a few of the changes that break readers."""
    data = bytearray(seed)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        place, length = draw.randrange(len(data) + 1), draw.choice((1, 4, 64, 200))
        kind = draw.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            number = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1))
            data[place : place + 4] = struct.pack(draw.choice('<>') + 'I', number)
        elif kind == 2:
            del data[place : place + draw.choice((length, len(data)))]
        elif kind == 3:
            data[place:place] = data[max(0, place - length) : place] or bytes(length)
        elif kind == 4:
            data[place : place + 32] = bytes(len(data[place : place + 32]))
        else:
            data[place:place] = draw.choice((b'\xff', b'"', b'[', b'{', b'&a', b'*a', b'1e999'))
    return bytes(data)
