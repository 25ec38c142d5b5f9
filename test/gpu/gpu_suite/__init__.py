"""Correctness and figures on a GPU, with few packages: see ``run_gpu_suite.sh``."""
