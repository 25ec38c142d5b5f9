"""Draws ``docs/architecture.svg``: what happens to a frame, and what is in which folder.

Run it after changing it: ``python docs/draw_architecture.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

WIDTH, HEIGHT = 1120, 700
INK, QUIET, PAPER = '#1f2933', '#5a6772', '#ffffff'
ROS, CORE, DATA = '#2563a8', '#2f7d4f', '#8a6d1b'
TINT = {ROS: '#e8f0fa', CORE: '#e7f4ec', DATA: '#fbf5e2'}
# text is as wide as the font that a viewer has: boxes leave room for a wide one
FONT = 'Helvetica, Arial, sans-serif'


@dataclass(frozen=True)
class Box:
    """A rectangle with a title and lines below it; ``left`` and ``top`` in pixels."""

    left: float
    top: float
    width: float
    height: float
    title: str
    lines: Sequence[str] = ()
    colour: str = CORE

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.left + self.width / 2, self.top + self.height / 2

    def rectangle(self) -> str:
        """Return it without the text."""
        return (
            f'<rect x="{self.left:g}" y="{self.top:g}" width="{self.width:g}" '
            f'height="{self.height:g}" rx="{min(7, self.height / 4):g}" fill="{TINT[self.colour]}" stroke="{self.colour}"/>'
        )

    def svg(self) -> Iterator[str]:
        """Yield its elements, the text centred."""
        yield self.rectangle()
        x, y = self.middle
        y += 5 - 8 * len(self.lines)
        yield text(x, y, self.title, weight='bold')
        for index, line in enumerate(self.lines, 1):
            yield text(x, y + 16 * index + 1, line, size=12, colour=QUIET)


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 14,
    colour: str = INK,
    weight: str = 'normal',
    anchor: str = 'middle',
) -> str:
    """Return one line of text with its baseline at ``y``."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(content)}</text>'
    )


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a line with a head at its end."""
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{INK}" '
        'stroke-width="1.6" marker-end="url(#head)"/>'
    )


def frame_path() -> Iterator[str]:
    """Yield the upper half: what happens to a frame."""
    yield text(30, 38, 'What happens to a frame', size=19, weight='bold', anchor='start')
    for left, colour, name in (
        (800, DATA, 'data'),
        (880, ROS, 'lemore_ros'),
        (990, CORE, 'lemore_core'),
    ):
        yield Box(left, 26, 14, 14, '', colour=colour).rectangle()
        yield text(left + 20, 38, name, size=13, colour=QUIET, anchor='start')
    boxes = [
        Box(30, 62, 140, 92, 'message', ('Image or', 'CompressedImage'), DATA),
        Box(230, 62, 140, 92, 'mailbox', ('newest only,', 'drops are counted'), CORE),
        Box(430, 62, 140, 92, 'image', ('H x W x 3 uint8', 'view, and header'), DATA),
        Box(630, 62, 190, 92, 'Segmenter', ('one thread,', 'every camera'), CORE),
        Box(880, 62, 210, 92, 'Segmentation', ('labels, confidence,', 'timings'), DATA),
    ]
    for box in boxes:
        yield from box.svg()
    for before, after in pairwise(boxes):
        y = before.middle[1]
        yield arrow((before.left + before.width, y), (after.left - 2, y))

    top, bottom = 204, 62 + 92
    inference = 'resize, normalise, folded network, decode:', 'one call, whatever the backend'
    outputs = 'the header of the input;', 'only what is subscribed'
    offline = 'lemore bag and lemore predict enter', 'at the image, leave at Segmentation'
    yield from Box(500, top, 320, 78, 'inference: cpu, gpu or tensorrt', inference, CORE).svg()
    yield from Box(880, top, 210, 78, 'messages out', outputs, ROS).svg()
    yield from Box(30, top, 440, 78, 'bags, files, videos', offline, ROS).svg()
    *_, image, segmenter, result = (box.middle[0] for box in boxes)
    yield arrow((segmenter - 12, bottom), (segmenter - 12, top - 2))
    yield arrow((segmenter + 12, top), (segmenter + 12, bottom + 2))
    yield arrow((result, bottom), (result, top - 2))
    yield arrow((image - 50, top), (image - 50, bottom + 2))


def folders() -> Iterator[str]:
    """Yield the lower half: what is in which folder, and who imports whom."""
    yield text(30, 338, 'What is where', size=19, weight='bold', anchor='start')
    yield text(
        170,
        338,
        'each imports what lies below it, never what lies above',
        size=13,
        colour=QUIET,
        anchor='start',
    )
    yield from frame(30, 356, 1060, 112, 'lemore_ros', 'speaks ROS messages, live or recorded', ROS)
    for index, (name, *lines) in enumerate(
        [
            ('node', 'imports rclpy: topics,', 'parameters, lifecycle'),
            ('messages', 'messages to arrays and', 'back, without ROS'),
            ('bags', 'read, segment, evaluate,', 'write; rosbags, no ROS'),
            ('tools', 'imports rclpy: demo,', 'latency'),
            ('launch, config', 'launch files, RViz,', 'DDS profile'),
        ]
    ):
        yield from Box(46 + 207 * index, 390, 200, 66, name, lines, ROS).svg()
    yield arrow((560, 468), (560, 484))

    yield from frame(30, 486, 1060, 196, 'lemore_core', 'the library: no ROS import anywhere', CORE)
    rows = [
        [
            ('cli', 'lemore: one file a command'),
            ('training', 'recipes, Lightning'),
            ('evaluation', 'metrics, reports'),
            ('benchmark', 'times'),
        ],
        [
            ('segmenter', 'a model, ready to run'),
            ('inference', 'cpu, gpu, tensorrt'),
            ('export', 'fold, ONNX, import'),
            ('checkpoint', 'safetensors, model card'),
        ],
        [
            ('model', 'the network'),
            ('taxonomy', 'classes, colours, groups'),
            ('data', 'data sets, as images'),
            ('system', 'files, memory, processes'),
        ],
    ]
    for row, cells in enumerate(rows):
        for column, (name, line) in enumerate(cells):
            left, top = 46 + 259 * column, 520 + 53 * row
            yield from Box(left, top, 251, 45, name, (line,), CORE).svg()


def frame(
    left: float, top: float, width: float, height: float, title: str, line: str, colour: str
) -> Iterator[str]:
    """Yield a package: a box around boxes, its name in the upper left corner."""
    yield (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="10" '
        f'fill="{PAPER}" stroke="{colour}" stroke-width="1.6"/>'
    )
    yield text(left + 16, top + 23, title, size=15, weight='bold', colour=colour, anchor='start')
    yield text(left + 120, top + 23, line, size=13, colour=QUIET, anchor='start')


def draw() -> str:
    """Return the drawing as SVG."""
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="{FONT}" role="img" aria-label="Architecture">'
    )
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker></defs>'
    )
    elements = [
        root,
        head,
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
        *frame_path(),
        *folders(),
        '</svg>',
    ]
    return '\n'.join(elements) + '\n'


if __name__ == '__main__':
    Path(__file__).with_name('architecture.svg').write_text(draw(), encoding='utf-8')
