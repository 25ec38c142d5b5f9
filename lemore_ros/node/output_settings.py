"""What the parameters ask of every frame, worked out once when they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lemore_core.refine import OutputSize, Refinement
from lemore_core.taxonomy import Taxonomy, load_groups, mask_tables
from lemore_ros.node.parameters import NodeParameters
from lemore_ros.outputs import OUTPUTS, Output, mask_outputs


@dataclass(frozen=True)
class OutputSettings:
    """``parameters`` with what follows from them for a network of given classes.

    ``taxonomy`` is that of the labels that are published: the network's classes, or their groups.
    ``masks`` are the tables of those that are published, by topic, and ``outputs`` all topics.
    """

    parameters: NodeParameters
    taxonomy: Taxonomy
    refinement: Refinement
    masks: Mapping[str, NDArray[np.uint8]]
    outputs: Mapping[str, Output]

    @classmethod
    def of(cls, parameters: NodeParameters, classes: Taxonomy) -> OutputSettings:
        """Work out the settings.

        Raises:
            GroupsError: ``class_groups`` names no groups of these classes, or ``masks`` none of them.
        """
        groups = load_groups(parameters.class_groups, classes) if parameters.class_groups else None
        refinement = Refinement(
            parameters.min_confidence, groups, OutputSize.parse(parameters.output_size)
        )
        tables = mask_tables(filter(None, parameters.masks), classes, groups)
        topics = {name: mask_outputs(name) for name in tables}
        return cls(
            parameters,
            classes if groups is None else groups.taxonomy,
            refinement,
            {topics[name][0].name: table for name, table in tables.items()},
            {**OUTPUTS, **{output.name: output for pair in topics.values() for output in pair}},
        )
