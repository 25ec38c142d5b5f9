"""Recordings measured, compared and shown."""
