"""Opens a report in headless Chromium, works its controls and reads the page that comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lemore_core.data.samples import Sample
from lemore_core.evaluation.evaluate import evaluate
from lemore_core.evaluation.report.content import Report
from lemore_core.evaluation.report.evaluation import evaluation_report, worst_images
from lemore_core.evaluation.strategies import Predictor
from test.browser import needs_browser, read_in_browser

# as a reader would: choose a class, move a slider; what is seen then is left in the page
DRIVER = """
<script>
addEventListener('load', async () => {
  while (!document.body.dataset.plots) await new Promise((done) => setTimeout(done, 50));
  const names = () => [...document.querySelectorAll('.card:not([hidden]) h3')].map((e) => e.textContent);
  const set = (element, value, event) => {
    element.value = value;
    element.dispatchEvent(new Event(event, { bubbles: true }));
  };
  const select = document.getElementById('class-filter');
  const [pole, car, building] = ['2', '8', '1'];
  const seen = { all: names() };
  set(select, car, 'change');
  Object.assign(seen, { car: names(), score: document.querySelector('.score').innerText });
  set(select, building, 'change');
  Object.assign(seen, { building: names(), status: document.getElementById('shown').textContent });
  set(select, pole, 'change');
  seen.pole = names();
  set(select, '', 'change');
  seen.again = names();
  const pane = document.querySelector('.pane:has(.after)');
  const clip = () => getComputedStyle(pane.querySelector('.after')).clipPath;
  seen.before = clip();
  set(pane.querySelector('input'), '25', 'input');
  seen.after = clip();
  set(document.getElementById('strength'), '10', 'input');
  seen.strength = getComputedStyle(pane.querySelector('.after')).opacity;
  seen.photos = [...document.querySelectorAll('.card:first-child .photo')].map((e) => e.naturalWidth);
  seen.canvases = Bokeh.documents.length;
  seen.drawn = [...document.querySelectorAll('.plot')].map((e) => e.clientHeight > 150);
  seen.loaded = performance.getEntriesByType('resource').map((e) => e.name.slice(0, 5));
  const result = document.createElement('pre');
  result.id = 'seen';
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
});
</script>
"""


@pytest.fixture
def report(predictor: Predictor, samples: list[Sample]) -> Report:
    worst = worst_images(50, predictor.taxonomy)
    result = evaluate(predictor, samples, worst)
    return evaluation_report(result, worst.images, title='a report', facts={})


@needs_browser
def test_a_reader_can_work_the_report(report: Report, tmp_path: Path) -> None:
    seen = read_in_browser(report, DRIVER, tmp_path)
    assert seen['all'] == seen['again'] == ['val/bad', 'val/middling', 'val/good']
    assert seen['car'] == ['val/bad', 'val/middling', 'val/good']
    assert seen['score'].split() == ['IoU', 'of', 'car', '0.0', '%']
    assert seen['building'] == ['val/bad', 'val/middling']
    assert seen['status'] == '2 of 3 images have building, the worst first'
    assert seen['pole'] == []
    assert '50%' in seen['before']
    assert '25%' in seen['after']
    assert seen['strength'] == '0.1'
    assert seen['photos'] == [80, 80, 80]
    assert seen['canvases'] == 3
    assert seen['drawn'] == [True] * 3
    assert set(seen['loaded']) <= {'data:'}
