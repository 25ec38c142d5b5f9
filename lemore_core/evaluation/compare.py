"""Compare a student with its teacher: figures by class on the same images, and time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from lemore_core.evaluation.evaluate import EvaluationResult
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report import Cell, Report, Section, Table

COLUMNS = ('class', 'teacher IoU', 'student IoU', 'points lost')


@dataclass(frozen=True)
class Comparison:
    """Results of student and teacher on the same images, and milliseconds that one image takes.

    Without a ``teacher`` its labels are the truth, so that it has 100 % itself. The milliseconds
    were measured in one run, interleaved: of the teacher's largest view and of the student.
    """

    student: EvaluationResult
    teacher: EvaluationResult | None
    teacher_ms: float
    student_ms: float

    @property
    def rows(self) -> list[tuple[str, float, float, float]]:
        """Name, IoU of teacher and student, and points lost: the mean, then each class."""
        mine = self.student.scores.matrix
        known = mine if self.teacher is None else self.teacher.scores.matrix
        names = ('mean', *self.student.taxonomy.classes)
        students = (mine.mean_iou, *mine.iou)
        teachers = (known.mean_iou, *known.iou) if self.teacher else (1.0,) * len(names)
        pairs = zip(names, teachers, students, strict=True)
        return [(name, float(t), float(s), 100 * float(t - s)) for name, t, s in pairs]

    @property
    def speed(self) -> str:
        """The time of both, and the factor between them."""
        return (
            f'teacher {self.teacher_ms:.1f} ms an image, student {self.student_ms:.1f} ms: '
            f'{self.teacher_ms / self.student_ms:.1f} times as fast'
        )

    def __str__(self) -> str:
        lines = ['{:<18} {:>12} {:>12} {:>12}'.format(*COLUMNS)]
        for name, teacher, student, lost in self.rows:
            lines.append(f'{name:<18} {percent(teacher):>12} {percent(student):>12} {lost:>12.1f}')
        return '\n'.join([*lines, self.speed])

    def on(self, report: Report) -> Report:
        """Return a report of the student that begins with the comparison."""
        cells: list[tuple[str | Cell, ...]] = [
            (name, *(_bar(iou) for iou in (teacher, student)), f'{lost:.1f}')
            for name, teacher, student, lost in self.rows
        ]
        parts: list[Any] = [f'{self.speed}.', Table(COLUMNS, cells)]
        figures = {
            'points lost': f'{self.rows[0][-1]:.1f}',
            'times faster': f'{self.teacher_ms / self.student_ms:.1f}',
        }
        return dataclasses.replace(
            report,
            figures={**figures, **report.figures},
            sections=[Section('Student beside teacher', parts), *report.sections],
        )


def _bar(share: float) -> Cell:
    return Cell(percent(share), round(float(np.nan_to_num(share)), 4))
