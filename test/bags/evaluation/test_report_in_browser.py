"""Work the reports of drives in headless Chromium, as a reader would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lemore_core.evaluation.report import Report, render_report
from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.evaluation.evaluate import evaluate_drive
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import GroundTruth, RecordedLabels
from lemore_ros.bags.evaluation.report import drive_report, worst_frames
from test.bags.evaluation.known_drives import NODE, TRUTH, drive_messages, write_messages

CHROMIUM = Path('/usr/bin/chromium')
FLAGS = [
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
    *('--enable-logging=stderr', '--v=0', '--virtual-time-budget=30000'),
]
CAMVID = load_taxonomy('camvid')
LABELS = f'{NODE}/labels'
TOLERANCE = 5_000_000
# the state of the page after each step is left in <pre id="seen">
DRIVER = """
<script>
addEventListener('load', async () => {
  while (!document.body.dataset.plots) await new Promise((done) => setTimeout(done, 50));
  const set = (element, value, event) => {
    element.value = value;
    element.dispatchEvent(new Event(event, { bubbles: true }));
  };
  const seen = {
    all: [...document.querySelectorAll('.card h3')].map((e) => e.textContent.split(' ')[0]),
  };
  const pane = document.querySelector('.pane:has(.after)');
  const clip = () => getComputedStyle(pane.querySelector('.after')).clipPath;
  seen.before = clip();
  set(pane.querySelector('input'), '25', 'input');
  seen.after = clip();
  set(document.getElementById('strength'), '10', 'input');
  seen.strength = getComputedStyle(pane.querySelector('.after')).opacity;
  seen.photos = [...document.querySelector('.card').querySelectorAll('.photo')].map((e) => e.naturalWidth);
  seen.layers = [...document.querySelectorAll('.layer')].map((e) => e.clientHeight > 100);
  seen.drawn = [...document.querySelectorAll('.plot')].map((e) => e.clientHeight > 150);
  // all plots over time share one axis: zooming one zooms all
  const figures = [...Bokeh.documents[0].all_models].filter((m) => m.type === 'Figure');
  figures[0].x_range.setv({ start: 0.1, end: 0.2 });
  seen.zoomed = figures.map((f) => f.x_range.start);
  seen.loaded = performance.getEntriesByType('resource').map((e) => e.name.slice(0, 5));
  const result = document.createElement('pre');
  result.id = 'seen';
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
});
</script>
"""

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f'{CHROMIUM} is not installed')


def read_in_browser(report: Report, folder: Path) -> dict[str, Any]:
    """Open a report without console errors; return what the driver saw."""
    path, profile = folder / 'report.html', folder / 'profile'
    path.write_text(render_report(report).replace('</body>', f'{DRIVER}</body>'), encoding='utf-8')
    command = [str(CHROMIUM), *FLAGS, f'--user-data-dir={profile}', '--dump-dom', path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert all('setting log level' in line for line in console), console
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, 'the scripts did not run to their end'
    seen: dict[str, Any] = json.loads(unescape(found.group(1)))
    return seen


def test_the_report_of_a_drive(tmp_path: Path) -> None:
    # the label images flicker once, at 1.0 s and back at 1.1 s
    mistakes = [*[0.5] * 10, 1.0, *[0.5] * 9]
    drive = write_messages(tmp_path / 'drive', drive_messages(mistakes))
    worst = worst_frames(2, CAMVID)
    truth = GroundTruth(TRUTH, drive, CAMVID, TOLERANCE)
    source = RecordedLabels(drive, LABELS, 'camvid', TOLERANCE)
    evaluation = evaluate_drive(ImageSequence(drive), source, truth, worst)
    report = drive_report(evaluation, worst.images, title='a drive', facts={})
    assert report.figures['mIoU'] == '49.2 %', 'car 9.5 of 20, road all, building none'
    titles = [section.title for section in report.sections]
    assert titles[:2] == ['Over time', 'Where they differ']
    assert titles[2:] == ['Classes', 'Confusion', 'Calibration']
    seen = read_in_browser(report, tmp_path)
    assert '50%' in seen['before']
    assert '25%' in seen['after']
    assert seen['strength'] == '0.1'
    assert set(seen['photos']) == {64}
    assert all(seen['layers'] + seen['drawn'])
    assert set(seen['loaded']) <= {'data:'}
    assert seen['all'][0] == '1.00'
    reasons = {image.name[:4]: image.figures['chosen for'] for image in report.images}
    assert 'flicker' in reasons['1.00'] + reasons.get('1.10', '')
    # against the ground truth, confidence, flicker, latency, and the classes
    assert seen['zoomed'] == [0.1] * 5
