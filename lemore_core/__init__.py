"""LeMoRe semantic segmentation: network, checkpoints, backends and evaluation, without ROS."""

import os

# ONNX Runtime writes a device's id and events and sends them; it looks when it is first imported
os.environ['ORT_DISABLE_TELEMETRY'] = '1'
# set before anything loads OpenMP, whose waiting threads else spin and take the cores of others:
# where two cores are busy, a training step takes five times as long
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

__version__ = '0.1.0'
