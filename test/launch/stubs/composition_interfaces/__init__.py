"""What launch_ros imports of a package without a wheel: the names of services for composable nodes.

Nothing here starts such nodes; the types are never sent.
"""
