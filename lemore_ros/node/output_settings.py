"""What the parameters ask of every frame, worked out once when they change."""

from __future__ import annotations

from dataclasses import dataclass

from lemore_core.refine import OutputSize, Refinement
from lemore_core.taxonomy import Taxonomy, load_groups
from lemore_ros.node.parameters import NodeParameters


@dataclass(frozen=True)
class OutputSettings:
    """``parameters`` with what follows from them for a network of given classes.

    ``taxonomy`` is that of the labels that are published: the network's classes, or their groups.
    """

    parameters: NodeParameters
    taxonomy: Taxonomy
    refinement: Refinement

    @classmethod
    def of(cls, parameters: NodeParameters, classes: Taxonomy) -> OutputSettings:
        """Work out the settings.

        Raises:
            GroupsError: ``class_groups`` names no groups of these classes.

        """
        groups = load_groups(parameters.class_groups, classes) if parameters.class_groups else None
        refinement = Refinement(
            parameters.min_confidence, groups, OutputSize.parse(parameters.output_size)
        )
        return cls(parameters, classes if groups is None else groups.taxonomy, refinement)
