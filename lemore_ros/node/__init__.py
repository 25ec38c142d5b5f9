"""The node: the only package, with the tools, that imports rclpy."""

import os
import signal
import sys

# the node's imports take seconds: until StopSignals is there, a signal ends its process, and no other
if any(word.endswith('segmentation_node') for word in sys.orig_argv[:4]):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
