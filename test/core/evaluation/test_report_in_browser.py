"""Opens a report in headless Chromium, works its controls and reads the page that comes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lemore_core.data.samples import Sample
from lemore_core.evaluation.evaluate import evaluate
from lemore_core.evaluation.report.build import render_report
from lemore_core.evaluation.report.evaluation import WorstPictures, evaluation_report
from lemore_core.evaluation.strategies import Predictor

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
def page(predictor: Predictor, samples: list[Sample], tmp_path: Path) -> Path:
    worst = WorstPictures(50, predictor.taxonomy)
    result = evaluate(predictor, samples, worst)
    report = evaluation_report(result, worst.pictures, title='a report', facts={})
    path = tmp_path / 'report.html'
    path.write_text(render_report(report).replace('</body>', f'{DRIVER}</body>'), encoding='utf-8')
    return path


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f'{CHROMIUM} is not installed')
def test_a_reader_can_work_the_report(page: Path, tmp_path: Path) -> None:
    profile = tmp_path / 'profile'
    command = [str(CHROMIUM), *FLAGS, f'--user-data-dir={profile}', '--dump-dom', page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert all('setting log level' in line for line in console), console
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, 'the scripts did not run to their end'
    seen: dict[str, Any] = json.loads(unescape(found.group(1)))
    assert seen['all'] == seen['again'] == ['bad', 'middling', 'good']
    assert seen['car'] == ['bad', 'middling', 'good']
    assert seen['score'].split() == ['IoU', 'of', 'car', '0.0', '%']
    assert seen['building'] == ['bad', 'middling']
    assert seen['status'] == '2 of 3 pictures have building, the worst first'
    assert seen['pole'] == []
    assert '50%' in seen['before']
    assert '25%' in seen['after']
    assert seen['strength'] == '0.1'
    assert seen['photos'] == [80, 80, 80]
    assert seen['canvases'] == 3
    assert seen['drawn'] == [True] * 3
    assert set(seen['loaded']) <= {'data:'}
