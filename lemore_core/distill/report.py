"""What a student has learned: agreement with its teacher on drives that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from tqdm import tqdm

from lemore_core.benchmark import interleaved
from lemore_core.distill.run import Distilled
from lemore_core.evaluation.evaluate import EvaluationResult, evaluate
from lemore_core.evaluation.report import evaluation_report, worst_images, write_report
from lemore_core.evaluation.strategies import SingleScale
from lemore_core.images.files import read_image
from lemore_core.segmenter import Segmenter

IMAGES = 24
TIMED = 10


@dataclass(frozen=True)
class Judgement:
    """Agreement of student and teacher, and the milliseconds that each takes for an image."""

    result: EvaluationResult
    student_ms: float
    teacher_ms: float


def judge(distilled: Distilled, path: Path) -> Judgement:
    """Measure the student, and write the report.

    Raises:
        LemoreError: Bokeh or Jinja2 is not installed, or the report cannot be written.
    """
    student = Segmenter.load(distilled.student)
    worst = worst_images(IMAGES, student.taxonomy, 'teacher')
    samples = tqdm(distilled.validation, desc='student', unit='image', disable=None)
    result = evaluate(SingleScale(student), samples, worst)
    student_ms, teacher_ms = _times([student, distilled.teacher], distilled.validation[0].image)
    facts = {
        **distilled.facts,
        'student': f'{student.card.name}, {student_ms:.1f} ms an image',
        'teacher': f'{distilled.teacher.card.name}, {teacher_ms:.1f} ms an image',
        'times as fast': f'{teacher_ms / student_ms:.1f}',
        'try it': commands(distilled.student)[0],
        'run it': commands(distilled.student)[1],
        'licence': student.card.licence,
    }
    title = 'The student against its teacher, on drives that it was not trained on'
    report = evaluation_report(result, worst.images, title=title, facts=facts, truth='teacher')
    write_report(report, path)
    return Judgement(result, student_ms, teacher_ms)


def commands(student: Path) -> tuple[str, str]:
    """Return the commands that try the student on images, and that run it on a robot."""
    launch = 'ros2 launch lemore_ros segmentation.launch.py image_topic:=/camera/image_raw'
    return (
        f'lemore predict IMAGES --model {student} --output out/predict',
        f'{launch} model:={student.resolve()}',
    )


def _times(segmenters: list[Segmenter], image: Path) -> list[float]:
    """Return the median milliseconds of each for an image, interleaved."""
    pixels = read_image(image)
    calls = {place: partial(each.segment, pixels) for place, each in enumerate(segmenters)}
    timed = interleaved(calls, range(TIMED))
    return [median(ms for ms, _ in found) for found in timed.values()]
