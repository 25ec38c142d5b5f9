"""The network as it is served."""

BATCH = 'batch'  # the open dimension of an exported file
