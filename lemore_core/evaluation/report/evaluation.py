"""The report of an evaluation: its plots, and the pictures that went worst."""

from __future__ import annotations

from collections.abc import Mapping

from lemore_core.evaluation.evaluate import EvaluationResult, Judged
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Pane, Report, ReportPicture
from lemore_core.evaluation.report.encode import fit_width, photo_uri
from lemore_core.evaluation.report.panes import (
    PICTURE_WIDTH,
    UNLABELLED,
    WRONG,
    Marked,
    Named,
    class_scores,
    labels_pane,
    marks_pane,
)
from lemore_core.evaluation.report.sections import score_figures, score_sections
from lemore_core.evaluation.report.worst import Worst
from lemore_core.taxonomy import Taxonomy


class WorstPictures:
    """Observes an evaluation and keeps the worst pictures, ready for the report.

    Neither all pictures are held in memory nor any is segmented twice.
    """

    def __init__(self, limit: int, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._worst = Worst(limit)

    def __call__(self, judged: Judged) -> None:
        """Keep the picture if it is among the worst so far."""
        self._worst.offer(judged.result.badness, lambda: draw_picture(judged, self._taxonomy))

    @property
    def pictures(self) -> tuple[ReportPicture, ...]:
        """The pictures, the worst first."""
        return tuple(kept.picture for kept in self._worst.kept)


def draw_picture(judged: Judged, taxonomy: Taxonomy, width: int = PICTURE_WIDTH) -> ReportPicture:
    """Return a judged picture as the report shows it: bare, prediction against truth, errors."""
    image, truth, prediction, result = judged
    unlabelled = truth >= len(taxonomy.classes)
    size = fit_width(truth.shape, width)
    return ReportPicture(
        name=result.name,
        photo=photo_uri(image, size),
        width=size[1],
        height=size[0],
        panes=(
            Pane('picture'),
            labels_pane(
                (Named('prediction', prediction.labels), Named('truth', truth, has_gaps=True)),
                taxonomy,
                size,
            ),
            marks_pane(
                'errors red, unlabelled dark',
                (Marked(prediction.labels != truth, WRONG), Marked(unlabelled, UNLABELLED)),
                size,
            ),
        ),
        figures={
            'mIoU': percent(result.mean_iou),
            'pixel accuracy': percent(result.pixel_accuracy),
        },
        scores=class_scores(result.iou),
    )


def evaluation_report(
    result: EvaluationResult,
    pictures: tuple[ReportPicture, ...],
    *,
    title: str,
    facts: Mapping[str, str],
) -> Report:
    """Return the report of an evaluation; ``pictures`` are the worst, ``facts`` tell of the run.

    Raises:
        ReportError: Bokeh is not installed.

    """
    return Report(
        title=title,
        figures=score_figures(result.scores),
        facts=facts,
        sections=score_sections(result.taxonomy, result.scores),
        pictures=pictures,
        pictures_title='Worst pictures',
        pictures_note=(
            f'The {len(pictures)} of {len(result.images)} pictures with the lowest mIoU over the '
            'classes in them, the worst first. Choose a class to see only those of them that '
            'have it or were said to have it, the lowest IoU of it first.'
        ),
        taxonomy=result.taxonomy,
    )
