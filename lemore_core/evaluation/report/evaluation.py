"""The report of an evaluation: its plots, and the images that went worst."""

from __future__ import annotations

from collections.abc import Mapping

from lemore_core.evaluation.evaluate import EvaluationResult, Judged
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Pane, Report, ReportImage
from lemore_core.evaluation.report.encode import fit_width, photo_uri
from lemore_core.evaluation.report.panes import (
    IMAGE_WIDTH,
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


class WorstImages:
    """Observes an evaluation and keeps the worst images, ready for the report.

    Neither all images are held in memory nor any is segmented twice.
    """

    def __init__(self, limit: int, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._worst = Worst(limit)

    def __call__(self, judged: Judged) -> None:
        """Keep the image if it is among the worst so far."""
        self._worst.offer(judged.result.badness, lambda: draw_image(judged, self._taxonomy))

    @property
    def images(self) -> tuple[ReportImage, ...]:
        """The images, the worst first."""
        return tuple(kept.image for kept in self._worst.kept)


def draw_image(judged: Judged, taxonomy: Taxonomy, width: int = IMAGE_WIDTH) -> ReportImage:
    """Return a judged image as the report shows it: bare, prediction against truth, errors."""
    image, truth, prediction, result = judged
    unlabelled = truth >= len(taxonomy.classes)
    size = fit_width(truth.shape, width)
    return ReportImage(
        name=result.name,
        photo=photo_uri(image, size),
        width=size[1],
        height=size[0],
        panes=(
            Pane('image'),
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
    images: tuple[ReportImage, ...],
    *,
    title: str,
    facts: Mapping[str, str],
) -> Report:
    """Return the report of an evaluation; ``images`` are the worst, ``facts`` tell of the run.

    Raises:
        ReportError: Bokeh is not installed.

    """
    return Report(
        title=title,
        figures=score_figures(result.scores),
        facts=facts,
        sections=score_sections(result.taxonomy, result.scores),
        images=images,
        images_title='Worst images',
        images_note=(
            f'The {len(images)} of {len(result.images)} images with the lowest mIoU over the '
            'classes in them, the worst first. Choose a class to see only those of them that '
            'have it or were said to have it, the lowest IoU of it first.'
        ),
        taxonomy=result.taxonomy,
    )
