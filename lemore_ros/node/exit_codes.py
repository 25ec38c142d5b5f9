"""Exit codes of the node, by which a launcher knows whether another start helps."""

from __future__ import annotations

STOPPED = 0
# wrong parameters, no such model: the next start would end the same way
CANNOT_START = 1
# a GPU that no longer answers this process, and inference that does not return: start again
DEVICE_LOST = 70
HUNG = 71
RESTART = frozenset({DEVICE_LOST, HUNG})
