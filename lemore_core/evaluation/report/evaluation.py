"""The report of an evaluation: its plots, and the images that went worst."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from lemore_core.evaluation.evaluate import EvaluationResult, Judged
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report.content import Report, ReportImage
from lemore_core.evaluation.report.images import ground_truth_panes, report_image
from lemore_core.evaluation.report.sections import score_figures, score_sections
from lemore_core.evaluation.report.worst import WorstImages
from lemore_core.taxonomy import Taxonomy


def worst_images(
    limit: int, taxonomy: Taxonomy, truth: str = 'ground truth'
) -> WorstImages[Judged]:
    """Return what keeps the images of the lowest mIoU; ``truth`` is what true labels are called."""
    draw = partial(draw_image, taxonomy=taxonomy, name=truth)
    return WorstImages(limit, lambda judged: {'low mIoU': judged.result.mean_iou}, draw)


def draw_image(judged: Judged, taxonomy: Taxonomy, name: str) -> ReportImage:
    """Return a judged image as the report shows it: bare, labels against ground truth, errors."""
    image, truth, prediction, result = judged
    figures = {
        'mIoU': percent(result.mean_iou),
        'pixel accuracy': percent(result.pixel_accuracy),
    }
    panes = ground_truth_panes(taxonomy, prediction.labels, truth, name)
    return report_image(result.name, image, panes, figures, result.iou)


def evaluation_report(
    result: EvaluationResult,
    images: tuple[ReportImage, ...],
    *,
    title: str,
    facts: Mapping[str, str],
    truth: str = 'ground truth',
) -> Report:
    """Return the report of an evaluation; ``images`` are the worst, ``facts`` tell of the run.

    ``truth`` is what the labels were compared with.

    Raises:
        ReportError: Bokeh is not installed.
    """
    return Report(
        title=title,
        figures=score_figures(result.scores),
        facts=facts,
        sections=score_sections(result.taxonomy, result.scores, truth),
        images=images,
        images_title='Worst images',
        images_note=(
            f'The {len(images)} of {len(result.images)} images with the lowest mIoU over the '
            'classes in them, the worst first. Choose a class to see only those of them that '
            'have it or were said to have it, the lowest IoU of it first.'
        ),
        taxonomy=result.taxonomy,
    )
