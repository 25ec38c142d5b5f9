"""Bags in, segmented bags out."""
