"""The ``lemore`` command: one file a subcommand, each a few lines over the library."""
