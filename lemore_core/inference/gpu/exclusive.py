"""What happens on the GPUs of this process one thread at a time."""

from __future__ import annotations

import threading

# Held while a network or an engine is loaded, memory is returned, or a CUDA graph is captured.
# Loading and returning memory synchronise the whole device, in torch, cuDNN and TensorRT alike,
# and that breaks a capture on any other thread in every capture mode (NVIDIA/TensorRT issue 2888).
# Kernels and the replay of graphs need no lock.
gpu_lock = threading.RLock()
