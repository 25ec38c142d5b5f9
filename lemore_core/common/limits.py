"""Limits for untrusted input; light enough for help texts."""

MAX_PIXELS = 50_000_000  # of one image
MAX_MESSAGE_BYTES = 2**29  # of a message or chunk in a bag, once decompressed

MAX_JSON_BYTES = 2**22
MAX_YAML_BYTES = 2**21
MAX_YAML_DEPTH = 32
# degrees clockwise by which the network may see an image rotated
ROTATIONS = (0, 90, 180, 270)
