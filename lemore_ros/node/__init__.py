"""The node: the only package, with the tools, that imports rclpy."""
