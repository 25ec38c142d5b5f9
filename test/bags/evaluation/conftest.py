"""Drives whose figures are known, for the tests of labelled drives."""

from pathlib import Path

import pytest

from test.bags.evaluation.known_drives import drive_messages, write_messages


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Four frames a tenth of a second apart, of all of which the right half is half wrong."""
    return write_messages(tmp_path / 'drive', drive_messages([0.5] * 4))
