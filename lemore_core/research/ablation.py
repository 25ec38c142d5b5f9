"""Does each part of the network earn its cost? The paper's Table 2 on any data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lemore_core.errors import LemoreError
from lemore_core.model.cost import measure_cost
from lemore_core.model.variants import LeMoReConfig
from lemore_core.training.run import TrainingRun, train_unless_finished

OFF = {
    'frontal': False,
    'lateral': False,
    'channel_attention': False,
    'nested_attention': False,
}


def _parts(*names: str) -> dict[str, bool]:
    return {**OFF, **dict.fromkeys(names, True)}


# in the order of Table 2 (T, F, L: the views; CA, NA: channel and nested attention), and one more
ROWS: Mapping[str, Mapping[str, bool]] = {
    'T': _parts(),
    'T+F': _parts('frontal'),
    'T+F+L': _parts('frontal', 'lateral'),
    'T+F+L+CA': _parts('frontal', 'lateral', 'channel_attention'),
    'T+NA': _parts('nested_attention'),
    'T+F+NA': _parts('frontal', 'nested_attention'),
    'T+F+L+NA': _parts('frontal', 'lateral', 'nested_attention'),
    'T+F+L+CA+NA': _parts('frontal', 'lateral', 'channel_attention', 'nested_attention'),
    'fusion at head': {**dict.fromkeys(OFF, True), 'fusion_at_head': True},
}


class AblationError(LemoreError):
    """A row that the table does not have."""


@dataclass(frozen=True)
class AblationRow:
    """One network of the table: its parts, cost at the run's size, and mIoU (0..1) on val.

    There is a mIoU for each seed.
    """

    name: str
    parameters: int
    gflops: float
    mean_ious: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON holds."""
        return dataclasses.asdict(self)


def ablate(
    run: TrainingRun, names: list[str] | None, seeds: list[int], report: Callable[[str], None]
) -> Iterator[AblationRow]:
    """Train every named row with the recipe of ``run``, once for each seed, and yield the rows.

    Without names it is the whole table.

    The runs lie in folders of ``run.output``. Those that are finished are not repeated, and one
    that was interrupted is resumed.

    Raises:
        AblationError: a row is unknown.
        LemoreError: see :func:`lemore_core.training.run.train`.

    """
    names = names or list(ROWS)
    unknown = sorted(set(names) - set(ROWS))
    if unknown:
        msg = f'the table has no rows {unknown}, its rows are {", ".join(ROWS)}'
        raise AblationError(msg)
    for name in names:
        scores = []
        for seed in seeds:
            folder = f'{name.replace(" ", "_")}-{seed}'
            recipe = dataclasses.replace(run.recipe, network=ROWS[name], seed=seed)
            output = run.output / folder
            report(f'{name}, seed {seed}')
            planned = dataclasses.replace(run, recipe=recipe, output=output)
            card = train_unless_finished(planned, report)
            scores.append(float(card.metrics['mean_iou']))
        assert isinstance(card.config, LeMoReConfig)
        cost = measure_cost(card.config)
        yield AblationRow(name, cost.parameters, cost.flops / 1e9, tuple(scores))
