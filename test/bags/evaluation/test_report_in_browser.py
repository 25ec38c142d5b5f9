"""Opens the reports of drives in headless Chromium and chooses a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from known_drives import NODE, TRUTH, drive_messages, write_messages

from lemore_core.taxonomy import load_taxonomy
from lemore_ros.bags.evaluation.compare import compare_sources
from lemore_ros.bags.evaluation.compare_report import comparison_report, worst_differences
from lemore_ros.bags.evaluation.evaluate import evaluate_sequence
from lemore_ros.bags.evaluation.ground_truth import open_ground_truth
from lemore_ros.bags.evaluation.image_sequence import ImageSequence
from lemore_ros.bags.evaluation.label_sources import RecordedLabels
from lemore_ros.bags.evaluation.report import evaluation_report, worst_frames
from test.browser import needs_browser, read_in_browser

CAMVID = load_taxonomy('camvid')
LABELS = f'{NODE}/labels'
# what a reader sees after each step is left in the page
DRIVER = """
<script>
addEventListener('load', async () => {
  while (!document.body.dataset.plots) await new Promise((done) => setTimeout(done, 50));
  const seen = {};
  const choose = (element, value) => {
    element.value = value;
    element.dispatchEvent(new Event('change', { bubbles: true }));
  };
  const names = () => [...document.querySelectorAll('.card:not([hidden]) h3')]
    .map((e) => e.textContent.split(' ')[0]);
  seen.all = names();
  const classes = document.getElementById('class-filter');
  choose(classes, '8');
  seen.car = names();
  seen.status = document.getElementById('shown').textContent;
  choose(classes, '');
  seen.again = names();
  seen.plots = Bokeh.documents.length;
  seen.drawn = [...document.querySelectorAll('.plot')].map((e) => e.clientHeight > 150);
  seen.lazy = [...document.images].every((image) => image.loading === 'lazy');
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

pytestmark = needs_browser


def recorded(bag: Path, topic: str) -> RecordedLabels:
    return RecordedLabels(bag, topic, 'camvid', 5_000_000)


@pytest.fixture
def long_drive(tmp_path: Path) -> Path:
    """Two seconds; the label images flicker once, at 1.0 s and back at 1.1 s."""
    mistakes = [0.5] * 20
    mistakes[10] = 1.0
    return write_messages(tmp_path / 'drive', drive_messages(mistakes))


def require_usable(seen: dict[str, Any]) -> None:
    """What every report offers."""
    assert seen['all'] == seen['again']
    assert len(seen['car']) == len(seen['all'])
    assert seen['status'].endswith('have car, the worst first')
    assert all(seen['drawn'])
    assert seen['lazy']
    assert set(seen['loaded']) <= {'data:'}


def test_the_report_of_a_drive(long_drive: Path, tmp_path: Path) -> None:
    worst = worst_frames(2, CAMVID, has_ground_truth=True)
    truth = open_ground_truth(TRUTH, long_drive, CAMVID, 5_000_000)
    evaluation = evaluate_sequence(
        ImageSequence(long_drive), recorded(long_drive, LABELS), truth, worst
    )
    report = evaluation_report(evaluation, worst.images, title='a drive', facts={})
    assert report.figures['mIoU'] == '49.2 %', 'car 9.5 of 20, road all, building none'
    seen = read_in_browser(report, DRIVER, tmp_path)
    require_usable(seen)
    assert seen['all'][0] == '1.00'
    reasons = {image.name[:4]: image.figures['chosen for'] for image in report.images}
    assert 'flicker' in reasons['1.00'] + reasons.get('1.10', '')
    assert seen['plots'] == len(seen['drawn']) == 4
    # against the ground truth, confidence, flicker, latency, and the classes
    assert seen['zoomed'] == [0.1] * 5


def test_the_report_of_a_comparison(long_drive: Path, tmp_path: Path) -> None:
    names = 'one', 'the other'
    worst = worst_differences(3, CAMVID, names)
    sides = recorded(long_drive, LABELS), recorded(long_drive, TRUTH)
    comparison = compare_sources(ImageSequence(long_drive), *sides, worst)
    report = comparison_report(comparison, worst.images, names=names, facts={})
    seen = read_in_browser(report, DRIVER, tmp_path)
    require_usable(seen)
    assert seen['all'][0] == '1.00'
    # over time, where, classes, confusion
    assert seen['plots'] == len(seen['drawn']) == 4
    # agreement, confidence, latency
    assert seen['zoomed'] == [0.1] * 3
