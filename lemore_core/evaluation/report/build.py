"""Builds the HTML of a report: one file with its scripts, styles and images inside."""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemore_core.common.files import write_whole
from lemore_core.evaluation.report.content import Report, ReportError, Table

if TYPE_CHECKING:
    from bokeh.model import Model
    from markupsafe import Markup

NEEDED = ('bokeh', 'jinja2')


def check_requirements() -> None:
    """Say at once what is missing, not after an hour of evaluation.

    Raises:
        ReportError: Bokeh or Jinja2 is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        msg = f'a report needs {" and ".join(NEEDED)}: pip install {" ".join(missing)}'
        raise ReportError(msg)


def write_report(report: Report, path: Path) -> None:
    """Write a report as HTML.

    Raises:
        ReportError: Bokeh or Jinja2 is not installed, or the file cannot be written.
    """
    content = render_report(report)
    try:
        write_whole(path, content)
    except OSError as error:
        msg = f'the report {path} cannot be written: {error.strerror}'
        raise ReportError(msg) from error


def render_report(report: Report) -> str:
    """Return the HTML of a report.

    Raises:
        ReportError: Bokeh or Jinja2 is not installed.
    """
    check_requirements()
    from bokeh.resources import Resources
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('lemore_core.evaluation.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Bokeh defines a model where it is first met: sorted keys would refer to it before
    environment.policies['json.dumps_kwargs'] = {'sort_keys': False}
    plots: list[dict[str, Any]] = []
    sections = [
        (section.title, [_part(part, plots) for part in section.parts])
        for section in report.sections
    ]
    # the widgets, tables and formulas that Bokeh can also bring would triple the file
    bokeh = Resources(mode='inline', components=['bokeh'], log_level='error')
    return environment.get_template('report.html').render(
        report=report,
        sections=sections,
        plots=plots,
        bokeh=_trusted(bokeh.render_js()) if plots else '',
        style=_own_file('report.css'),
        script=_own_file('report.js'),
    )


def _part(part: Model | Table | str, plots: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the template needs of a part; a plot is also added to ``plots``."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item

    if isinstance(part, str):
        return {'text': part}
    if isinstance(part, Table):
        return {'table': part}
    target = f'plot-{len(plots)}'
    plots.append(dict(json_item(part, ID(target))))
    return {'plot': target}


def _own_file(name: str) -> Markup:
    path = files('lemore_core.evaluation.report') / 'templates' / name
    return _trusted(path.read_text(encoding='utf-8'))


def _trusted(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - this package's own files and Bokeh's, nothing of the user's
