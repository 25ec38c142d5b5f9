"""What the authors of a network ask of it, and the user of a node does not: ``lemore research``."""
