"""Pre-training of the encoder as a classifier of whole images."""
