"""Bags, read and written without ROS."""
