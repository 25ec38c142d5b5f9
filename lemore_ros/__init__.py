"""The ROS 2 layer: the segmentation node and the tools that work on bags."""
