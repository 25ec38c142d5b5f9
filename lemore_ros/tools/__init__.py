"""Programs around the node: the demo and its parts."""
