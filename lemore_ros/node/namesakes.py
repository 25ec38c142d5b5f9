"""Other nodes of the same name, which answer to the same services and topics."""

from __future__ import annotations

from typing import Any

# checks, one a second: a node that was killed stays known for 20 s, as the middleware's lease is
CHECKS = 25


class NamesakeCheck:
    """Warns once when another node of this one's name stays."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._found = 0

    def run(self) -> None:
        """Look for one; called once a second."""
        mine = self._node.get_name(), self._node.get_namespace()
        names = [(name, space) for name, space in self._node.get_node_names_and_namespaces()]
        self._found = self._found + 1 if names.count(mine) > 1 else 0
        if self._found == CHECKS:
            self._node.get_logger().warning(
                f'another node is called {self._node.get_fully_qualified_name()} too: services and '
                'parameters may reach either. Give one another name (-r __node:=NAME) or namespace'
            )
