"""TensorRT: engines built in the background, cached, and swapped in while another backend serves."""
