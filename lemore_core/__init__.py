"""LeMoRe semantic segmentation: network, checkpoints, backends and evaluation, without ROS."""

import os

# ONNX Runtime writes a device's id and events and sends them; it looks when it is first imported
os.environ['ORT_DISABLE_TELEMETRY'] = '1'

__version__ = '0.1.0'
