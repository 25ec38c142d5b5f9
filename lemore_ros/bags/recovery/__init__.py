"""What is left of damaged bags."""
