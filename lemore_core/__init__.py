"""LeMoRe semantic segmentation: network, checkpoints, backends and evaluation, without ROS."""

__version__ = '0.1.0'
