"""How much is taken in of what others send; light enough for help texts."""

MAX_PIXELS = 50_000_000  # of one image
