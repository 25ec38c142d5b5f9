"""Headless Chromium, which opens a report, works it and says what a reader sees then."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lemore_core.evaluation.report.build import render_report
from lemore_core.evaluation.report.content import Report

CHROMIUM = Path('/usr/bin/chromium')
FLAGS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--enable-logging=stderr',
    '--v=0',
    '--virtual-time-budget=30000',
]
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f'{CHROMIUM} is not installed')


def read_in_browser(report: Report, driver: str, folder: Path) -> dict[str, Any]:
    """Open a report without console errors; return what ``driver`` leaves in ``<pre id="seen">``.

    ``driver`` is a script element that works the page as a reader would.
    """
    path, profile = folder / 'report.html', folder / 'profile'
    path.write_text(render_report(report).replace('</body>', f'{driver}</body>'), encoding='utf-8')
    command = [str(CHROMIUM), *FLAGS, f'--user-data-dir={profile}', '--dump-dom', path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert all('setting log level' in line for line in console), console
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, 'the scripts did not run to their end'
    seen: dict[str, Any] = json.loads(unescape(found.group(1)))
    return seen
