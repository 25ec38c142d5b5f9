"""The network, one noun a file."""
