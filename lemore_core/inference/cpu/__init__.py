"""Inference on a CPU: resize, run, decode."""
