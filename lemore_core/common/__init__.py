"""Errors, validation, files and processes that every part uses."""
