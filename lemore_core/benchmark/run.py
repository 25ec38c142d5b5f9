"""Does what a plan says and returns rows."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lemore_core.benchmark.cases import Case, Size, Skipped, cases
from lemore_core.benchmark.errors import BenchmarkError
from lemore_core.benchmark.images import Pixels, at_size, read_image
from lemore_core.benchmark.plan import Plan
from lemore_core.benchmark.turns import in_turns
from lemore_core.errors import LemoreError
from lemore_core.segmenter import Segmenter, resolve_checkpoint

if TYPE_CHECKING:
    from lemore_core.benchmark.memory import Peak
    from lemore_core.benchmark.networks import AloneNetwork
    from lemore_core.benchmark.peak import PeakRow
    from lemore_core.benchmark.peers import Peer
    from lemore_core.benchmark.rate import RateRow
    from lemore_core.benchmark.rows import Row
    from lemore_core.benchmark.steps import LoadedCase

_log = logging.getLogger(__name__)

# how long a backend labels as fast as it can, to see where to begin to search
TRIAL_SECONDS = 0.5


def run(plan: Plan) -> list[Row]:
    """Measure and return the rows, those of one kind together.

    Raises:
        LemoreError: something named in the plan does not exist, or nothing can be measured.

    """
    return MEASUREMENTS[plan.what](plan)


def measure_steps(plan: Plan) -> list[Row]:
    """Time the steps of every case, and the networks of the peers, all in turns."""
    from lemore_core.benchmark.steps import load_cases, steps_row

    if plan.peers:
        _need('onnxruntime', 'onnx')

    image, wanted, skipped = _prepare(plan)
    loaded, failed = load_cases(wanted, image)
    peaks = {
        one.case: _peak_memory(one.case, plan)
        for one in _progress(loaded if plan.memory else [], 'memory')
    }
    networks = _beside_peers(plan, loaded, image)
    tasks: dict[Any, Callable[[], Any]] = {one.case: one for one in loaded}
    tasks |= {network.name: network for network in networks}
    timed = in_turns(tasks, _progress(range(plan.rounds), 'rounds'))
    rows: list[Row] = [steps_row(one, timed[one.case], peaks.get(one.case)) for one in loaded]
    if networks:
        from lemore_core.benchmark.networks import network_rows

        times = {network.name: [ms for ms, _ in timed[network.name]] for network in networks}
        rows += network_rows(networks, times)
    return [*rows, *skipped, *failed]


def measure_rates(plan: Plan) -> list[Row]:
    """Find the highest rate of every case, then its latencies at the fixed rates."""
    from lemore_core.benchmark.rate import drive

    image, wanted, skipped = _prepare(plan)
    peaks: list[Row] = []
    rows: list[Row] = []
    for case in wanted:
        label, name = _labeller(case, image, skipped)
        if label is None:
            continue
        peaks.append(_highest_rate(label, name, plan.probe_seconds))
        rows += [
            drive(label, rate, plan.seconds, name) for rate in _progress(plan.rates, 'fixed rates')
        ]
    return _unless_empty([*peaks, *rows, *skipped])


def measure_memories(plan: Plan) -> list[Row]:
    """Watch the memory of every case, one after the other."""
    from lemore_core.benchmark.memory import measure_memory

    _, wanted, skipped = _prepare(plan)
    rows: list[Row] = []
    for case in wanted:
        with tqdm(total=plan.images, unit='image', desc=str(case), disable=None) as bar:
            try:
                rows.append(measure_memory(case, plan.image, plan.images, bar.update))
            except BenchmarkError as error:
                skipped.append(Skipped(str(case), str(error)))
    return _unless_empty([*rows, *skipped])


def measure_decoding(plan: Plan) -> list[Row]:
    """Time decoding to many classes, against torch and against the network."""
    _need('onnxruntime', 'onnx', 'torch')
    from lemore_core.benchmark.decoding import DECODINGS, time_decoding

    image = read_image(plan.image)
    model = resolve_checkpoint(plan.grid.models[0], plan.grid.dataset)
    return [
        time_decoding(model, image, dataset, size, _progress(range(plan.rounds), dataset))
        for dataset, size in DECODINGS
    ]


def measure_folding(plan: Plan) -> list[Row]:
    """Time what folding and INT8 make of the network."""
    _need('onnxruntime', 'onnx', 'torch')
    from lemore_core.benchmark.folding import SIZE, time_folding

    rounds = _progress(range(plan.rounds), 'rounds')
    return list(time_folding(read_image(plan.image), rounds, SIZE))


MEASUREMENTS: dict[str, Callable[[Plan], list[Row]]] = {
    'steps': measure_steps,
    'rate': measure_rates,
    'memory': measure_memories,
    'decode': measure_decoding,
    'folding': measure_folding,
}


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        msg = f'this needs {" and ".join(packages)}: pip install {" ".join(missing)}'
        raise BenchmarkError(msg)


def _prepare(plan: Plan) -> tuple[Pixels, list[Case], list[Skipped]]:
    """Return the image, what is to be measured with it, and what cannot be."""
    image = read_image(plan.image)
    own: Size = (image.shape[0], image.shape[1])
    grid = dataclasses.replace(plan.grid, sizes=plan.grid.sizes or [own])
    wanted, skipped = cases(grid)
    if not wanted:
        _unless_empty(skipped)
    return image, wanted, skipped


def _unless_empty(rows: Sequence[Row]) -> list[Row]:
    reasons = [row.reason for row in rows if isinstance(row, Skipped)]
    if len(reasons) == len(rows):
        msg = f'nothing can be measured: {"; ".join(reasons)}'
        raise BenchmarkError(msg)
    return list(rows)


def _beside_peers(plan: Plan, loaded: Sequence[LoadedCase], image: Pixels) -> list[AloneNetwork]:
    """Return LeMoRe's network in ONNX Runtime and the peers, if there are any."""
    if not plan.peers:
        return []
    from lemore_core.benchmark.networks import own_network
    from lemore_core.benchmark.peers import load_peer

    in_runtime = [one.case for one in loaded if one.backend.status.backend == 'onnxruntime']
    case = in_runtime[0] if in_runtime else loaded[0].case
    own = own_network(case, image)
    size = plan.peer_size or case.request().size
    peers: list[Peer] = [
        load_peer(path, size, own.threads, own.network.device) for path in plan.peers
    ]
    return [own, *peers]


def _labeller(
    case: Case, image: Pixels, skipped: list[Skipped]
) -> tuple[Callable[[], object] | None, str]:
    """Return what labels the image once, warmed up, and what it is called."""
    scaled = at_size(image, *case.image)
    try:
        segmenter: Segmenter = case.load()
    except LemoreError as error:
        skipped.append(Skipped(str(case), str(error)))
        return None, ''
    label = partial(segmenter.segment, scaled.pixels, scaled.encoding)
    label()
    status = segmenter.status
    return label, case.name(status.backend, status.device, status.precision)


def _highest_rate(label: Callable[[], object], name: str, seconds: float) -> PeakRow:
    from lemore_core.benchmark.peak import find_peak
    from lemore_core.benchmark.rate import drive

    with tqdm(desc='highest rate', unit='probe', leave=False, disable=None) as bar:

        def probe(rate: float) -> RateRow:
            bar.set_postfix_str(f'{rate:.1f} Hz')
            found = drive(label, rate, seconds)
            bar.update()
            return found

        return find_peak(probe, _fastest(label) / 2, name)


def _peak_memory(case: Case, plan: Plan) -> Peak | None:
    from lemore_core.benchmark.memory import measure_peak

    try:
        return measure_peak(case, plan.image)
    except BenchmarkError as error:
        # the times are worth having without it
        _log.warning('%s', error)
        return None


def _fastest(label: Callable[[], object]) -> float:
    """Return how often a second something can be done for a short while."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < TRIAL_SECONDS:
        label()
        count += 1
    return count / (time.perf_counter() - began)


def _progress(items: Iterable[Any], what: str) -> Iterable[Any]:
    bar: Iterable[Any] = tqdm(items, desc=what, leave=False, disable=None)
    return bar
