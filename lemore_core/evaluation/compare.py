"""Compare a student with its teacher: figures by class on the same images, and time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lemore_core.evaluation.evaluate import EvaluationResult
from lemore_core.evaluation.metrics import percent
from lemore_core.evaluation.report import Cell, Report, Section, Table, bar

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
        found = [
            np.ones(len(self.student.taxonomy.classes) + 1)
            if result is None
            else np.array([result.scores.matrix.mean_iou, *result.scores.matrix.iou])
            for result in (self.teacher, self.student)
        ]
        columns = (*found, 100 * (found[0] - found[1]))
        names = ('mean', *self.student.taxonomy.classes)
        return list(zip(names, *(column.tolist() for column in columns), strict=True))

    def __str__(self) -> str:
        lines = ['{:<18} {:>12} {:>12} {:>12}'.format(*COLUMNS)]
        for name, teacher, student, lost in self.rows:
            lines.append(f'{name:<18} {percent(teacher):>12} {percent(student):>12} {lost:>12.1f}')
        speed = (
            f'teacher {self.teacher_ms:.1f} ms an image, student {self.student_ms:.1f} ms: '
            f'{self.teacher_ms / self.student_ms:.1f} times as fast'
        )
        return '\n'.join([*lines, speed])

    def on(self, report: Report) -> Report:
        """Return a report of the student that begins with the comparison."""
        rows: list[tuple[str | Cell, ...]] = [
            (name, *map(bar, iou), f'{lost:.1f}') for name, *iou, lost in self.rows
        ]
        section = Section(
            'Student beside teacher', [str(self).splitlines()[-1], Table(COLUMNS, rows)]
        )
        faster = f'{self.teacher_ms / self.student_ms:.1f}'
        figures = {'points lost': f'{self.rows[0][-1]:.1f}', 'times faster': faster}
        return dataclasses.replace(
            report, figures=figures | {**report.figures}, sections=[section, *report.sections]
        )
