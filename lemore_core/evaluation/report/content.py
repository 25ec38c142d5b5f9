"""What a report holds, as plain values: any tool can fill it in. Texts are escaped when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lemore_core.common.errors import LemoreError

if TYPE_CHECKING:
    from bokeh.model import Model

    from lemore_core.taxonomy import Taxonomy


class ReportError(LemoreError):
    """A report that cannot be built or written here."""


@dataclass(frozen=True)
class Table:
    """Rows of text under ``columns``; the first cell of a row names it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ReportSection:
    """A titled part of a report: Bokeh's plots, tables and text, in order."""

    title: str
    parts: tuple[Model | Table | str, ...]


@dataclass(frozen=True)
class Layer:
    """A partly transparent image, as a data URI, that is laid over a photograph."""

    title: str
    uri: str


@dataclass(frozen=True)
class Pane:
    """A view of the photograph: bare, under one layer, or under two with a slider between them.

    ``dimmed`` takes the colours out of the photograph, for layers that must stand out.
    """

    caption: str
    layers: tuple[Layer, ...] = ()
    dimmed: bool = False


@dataclass(frozen=True)
class ReportImage:
    """A photograph (a data URI, with its size in pixels), its figures and the views of it.

    ``scores`` gives a number by class id for the classes that the image can be filtered by: the
    lower, the earlier it is shown.
    """

    name: str
    photo: str
    width: int
    height: int
    panes: tuple[Pane, ...]
    figures: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A whole report: headline figures, facts about the run, sections, then the images.

    ``taxonomy`` gives the legend and the class filter of the images; ``score_name`` says what
    their scores are.
    """

    title: str
    figures: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    sections: tuple[ReportSection, ...] = ()
    images: tuple[ReportImage, ...] = ()
    images_title: str = 'Images'
    images_note: str = ''
    taxonomy: Taxonomy | None = None
    score_name: str = 'IoU'
