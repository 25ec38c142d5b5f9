"""TensorRT: engines are built and tried in another process, and cached."""
