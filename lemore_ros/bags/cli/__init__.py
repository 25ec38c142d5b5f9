"""The sub-commands of ``lemore bag``, one file each."""
