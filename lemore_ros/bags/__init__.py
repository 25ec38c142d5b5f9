"""Recorded drives: read, segmented, measured and shown without a ROS installation."""
