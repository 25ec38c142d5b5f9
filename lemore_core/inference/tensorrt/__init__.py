"""TensorRT: engines are built in another process, cached, checked and swapped in between two images."""
