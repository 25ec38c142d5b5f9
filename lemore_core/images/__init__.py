"""Images: pixels and their encodings, files, videos, drawing."""
