"""Metrics of a segmentation against the truth."""
