"""A small network from a large one and unlabelled images: what ``lemore distill`` does."""
