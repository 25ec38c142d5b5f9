"""The class table as ``vision_msgs/LabelInfo``, which the nav2 semantic segmentation layer reads.

The layer looks classes up by name in its own parameters, and drops every mask until it has the
table; so it is published latched. A label that is not in the table, as unlabelled is, costs nothing
there.
"""

from __future__ import annotations

import json
from typing import Any

from lemore_core.taxonomy import Taxonomy


def label_info_message(taxonomy: Taxonomy, header: Any, *, threshold: float = 0.0) -> Any:
    """Return the classes as a ``vision_msgs/LabelInfo`` with ``header`` itself.

    ``threshold`` is the confidence (0..1) below which labels are unlabelled.

    Raises:
        ImportError: ``vision_msgs`` is not installed.
    """
    from vision_msgs.msg import LabelInfo, VisionClass

    classes = [
        VisionClass(class_id=label, class_name=name) for label, name in enumerate(taxonomy.classes)
    ]
    return LabelInfo(header=header, class_map=classes, threshold=float(threshold))


def classes_json(taxonomy: Taxonomy) -> str:
    """Return the class table as a JSON list of ``{"id", "name", "color": [r, g, b]}``."""
    rows = zip(taxonomy.classes, taxonomy.colors, strict=True)
    return json.dumps(
        [{'id': i, 'name': name, 'color': list(color)} for i, (name, color) in enumerate(rows)]
    )
