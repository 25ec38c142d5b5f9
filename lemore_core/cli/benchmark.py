"""``lemore benchmark``."""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.cli.arguments import add_segmenter_arguments, load_segmenter
from lemore_core.errors import LemoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lemore_core.segmenter import Segmenter

# (classes, logit size, label size): ADE20K at 512x512, Cityscapes at 720p
DECODINGS = ((150, (64, 64), (512, 512)), (19, (90, 160), (720, 1280)))
FOLDING_SIZE = (512, 512)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_segmenter_arguments(parser)
    parser.add_argument('--image', type=Path, required=True, help='a picture, or a video to grab')
    parser.add_argument('--rounds', type=int, default=20, help='measurements, 20')
    parser.add_argument(
        '--folding',
        action='store_true',
        help='instead, time what folding and INT8 make of the network alone',
    )
    parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> None:
    """Print the median time of each step, and of decoding against plain upsampling and argmax."""
    image = _read(arguments.image)
    if arguments.folding:
        rows = _foldings(image, arguments.rounds)
    else:
        segmenter = load_segmenter(arguments)
        rows = [
            _steps(segmenter, image, arguments.rounds),
            *_decodings(segmenter.path, image, arguments.rounds),
        ]
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print('  '.join(f'{name} {value}' for name, value in row.items()))


def _read(path: Path) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    found, image = cv2.VideoCapture(str(path)).read()
    if not found:
        msg = f'{path} is no readable picture or video'
        raise LemoreError(msg)
    return np.asarray(image, np.uint8)


def _steps(segmenter: Segmenter, image: NDArray[np.uint8], rounds: int) -> dict[str, Any]:
    segmenter.segment(image, 'bgr8')
    timings = [segmenter.segment(image, 'bgr8').timings for _ in range(rounds)]
    steps = timings[0].steps
    height, width = image.shape[:2]
    network = segmenter.network_size(height, width)
    return {
        'model': segmenter.card.name,
        'backend': f'{segmenter.status.backend}@{segmenter.status.device}',
        'image': f'{width}x{height}',
        'network': f'{network[1]}x{network[0]}',
        **{f'{step}_ms': _median([t.steps[step] for t in timings]) for step in steps},
        'total_ms': _median([t.total_ms for t in timings]),
    }


def _median(milliseconds: list[float]) -> float:
    import numpy as np

    return round(float(np.median(milliseconds)), 2)


def _decodings(path: Path, image: NDArray[np.uint8], rounds: int) -> list[dict[str, Any]]:
    from lemore_core.deploy.decode import decode
    from lemore_core.evaluation.timing import median_ms, torch_decode

    rows = []
    for classes, logit_size, size in DECODINGS:
        logits = _logits_of(path, image, classes, logit_size)
        times = median_ms(
            {
                'fused_ms': partial(decode, logits, *size),
                'torch_ms': partial(torch_decode, logits, *size),
            },
            rounds,
        )
        rows.append(
            {
                'decode': f'{logit_size[1]}x{logit_size[0]}x{classes} to {size[1]}x{size[0]}',
                **{name: round(value, 2) for name, value in times.items()},
                'ratio': round(times['torch_ms'] / times['fused_ms'], 1),
            }
        )
    return rows


def _foldings(image: NDArray[np.uint8], rounds: int) -> list[dict[str, Any]]:
    """Time tiny at 512x512 with 150 classes in ONNX Runtime on the CPU, the network alone.

    Its weights are random: the time does not depend on them.
    """
    from lemore_core.backends.onnx_backend import OnnxNetwork
    from lemore_core.deploy.export import export_onnx
    from lemore_core.deploy.pixels import to_network
    from lemore_core.deploy.quantise import quantise
    from lemore_core.evaluation.timing import median_ms

    pixels = to_network(image, 'bgr8', *FOLDING_SIZE)
    with tempfile.TemporaryDirectory(prefix='lemore-benchmark-') as folder:
        as_published = _random_checkpoint(Path(folder, 'plain.safetensors'))
        at_head = _random_checkpoint(Path(folder, 'at_head.safetensors'), fusion_at_head=True)
        folded = export_onnx(as_published, *FOLDING_SIZE)
        contents = {
            'plain': export_onnx(as_published, *FOLDING_SIZE, folded=False),
            'folded': folded,
            'folded, fusion_at_head': export_onnx(at_head, *FOLDING_SIZE),
            'folded, int8': quantise(folded, [pixels], least_agreement=0.0),
        }
    backends = {name: OnnxNetwork(content, 'cpu', name) for name, content in contents.items()}
    times = median_ms(
        {name: partial(backend, pixels[None]) for name, backend in backends.items()}, rounds
    )
    return [
        {
            'network': name,
            'threads': backends[name].threads,
            'ms': round(milliseconds, 2),
            'ratio': round(milliseconds / times['plain'], 3),
        }
        for name, milliseconds in times.items()
    ]


def _random_checkpoint(path: Path, **switches: bool) -> Path:
    import torch

    from lemore_core import checkpoint
    from lemore_core.checkpoint import ModelCard
    from lemore_core.model.lemore import LeMoRe
    from lemore_core.model.variants import variant
    from lemore_core.taxonomy import load_taxonomy

    taxonomy = load_taxonomy('ade20k')
    height, width = FOLDING_SIZE
    config = variant('tiny', classes=len(taxonomy.classes), height=height, width=width, **switches)
    torch.manual_seed(0)
    card = ModelCard(name='random', config=config, taxonomy=taxonomy, licence='none')
    checkpoint.save(path, card, LeMoRe(config).state_dict())
    return path


def _logits_of(
    path: Path,
    image: NDArray[np.uint8],
    classes: int,
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Return the model's logits of the image at ``size``, widened to a number of classes.

    The trained classes stay; the others are weighted mixtures of them, a little below: they share
    the picture's structure, as the classes of a larger data set would, and win in places.
    """
    import numpy as np

    from lemore_core import backends
    from lemore_core.backends import ServingRequest
    from lemore_core.deploy.pixels import to_network

    network = (size[0] * 8, size[1] * 8)
    backend = backends.load('torch', ServingRequest(path, *network, device='cpu'))
    logits = backend.logits(to_network(image, 'bgr8', *network)[None])[0]
    trained = logits.shape[-1]
    random = np.random.default_rng(0)
    mixture = random.dirichlet(np.full(trained, 0.5), classes - trained).astype(np.float32)
    others = logits @ mixture.T + random.normal(0, 1, classes - trained).astype(np.float32)
    return np.concatenate([logits, others], axis=-1)
