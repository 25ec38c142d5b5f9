"""The network as it is served."""
