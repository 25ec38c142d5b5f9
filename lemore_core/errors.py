"""The root of every error that the library raises on purpose."""


class LemoreError(Exception):
    """Something that the user can put right; the message says what and how."""
