"""The folder beside a result in which it grows, and from which a run that broke off goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lemore_core.common.errors import in_one_line
from lemore_core.common.files import write_whole
from lemore_core.common.limits import parse_json
from lemore_ros.bags.errors import BagError
from lemore_ros.bags.io import metadata
from lemore_ros.bags.segmentation.divide import Part
from lemore_ros.bags.segmentation.writer import naming_a_full_disk, synchronise


@dataclass
class PartResult:
    """What came of a part: its file, as the bag's metadata describe it (None: no messages).

    ``problems`` are the reasons why images were not segmented and how many each cost, ``read_errors``
    the places of the input that could not be read.
    """

    about: dict[str, Any] | None
    frames: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    read_errors: dict[str, int] = field(default_factory=dict)

    def add(self, other: PartResult) -> None:
        """Count another part's frames and problems in."""
        self.frames += other.frames
        for reason, count in other.problems.items():
            self.problems[reason] = self.problems.get(reason, 0) + count
        for place, count in other.read_errors.items():
            # a place may lie in two parts
            self.read_errors[place] = max(count, self.read_errors.get(place, 0))


class UnfinishedBag:
    """A result that is not whole yet: ``.NAME.part`` beside it."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.parent / f'.{output.name}.part'
        self.files = self.folder / 'bag'
        self._journal = self.folder / 'journal'
        self._job = self.folder / 'job.json'

    def refuse_existing(self, *, resume: bool) -> None:
        """Refuse to overwrite a bag, before anything costs time.

        Raises:
            BagError: it exists.
        """
        if self.output.exists():
            hint = 'it is finished, there is nothing to resume' if resume else 'not overwriting'
            msg = f'{self.output} exists already, {hint}'
            raise BagError(msg)

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> None:
        """Make the folder, or find it as another run for the same job left it.

        Raises:
            BagError: the result exists, or so does a run that broke off and ``resume`` is not
                asked for, or that run was for another job.
        """
        self.refuse_existing(resume=resume)
        if self._job.exists():
            self._check(job, resume=resume)
        with naming_a_full_disk(self.folder):
            self.files.mkdir(parents=True, exist_ok=True)
            self._journal.mkdir(exist_ok=True)
            if not self._job.exists():
                write_whole(self._job, json.dumps(job, indent=2))

    def result_of(self, part: Part) -> PartResult | None:
        """Return what came of a part, None if it is not finished."""
        try:
            return PartResult(**parse_json(self._entry(part).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise BagError(_damaged(self._entry(part), error)) from error

    def record(self, part: Part, result: PartResult) -> None:
        """Keep what came of a part whose file is in its place."""
        with naming_a_full_disk(self.folder):
            write_whole(self._entry(part), json.dumps(asdict(result)))
        synchronise(self._journal)

    def finish(self, parts: list[Part]) -> PartResult:
        """Make the result of its parts, all of which are finished, and give it its name.

        Raises:
            BagError: nothing was written.
        """
        total, files = PartResult(None), []
        for part in parts:
            result = self.result_of(part)
            assert result is not None, f'{part} is not finished'
            total.add(result)
            if result.about is not None:
                files.append(result.about)
        if not files:
            msg = f'no messages are left to be written to {self.output}: see --skip, --duration'
            raise BagError(msg)
        kept = {path for about in files for path in about['relative_file_paths']}
        for stray in [path for path in self.files.iterdir() if path.name not in kept]:
            # what a killed worker was writing
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
        with naming_a_full_disk(self.folder):
            metadata.write(self.files, metadata.merge(files))
            synchronise(self.files)
        os.rename(self.files, self.output)  # noqa: PTH104 - a folder must not be moved into another
        synchronise(self.output.parent)
        shutil.rmtree(self.folder)
        return total

    def _entry(self, part: Part) -> Path:
        return self._journal / f'{part.index:06}.json'

    def _check(self, job: Mapping[str, Any], *, resume: bool) -> None:
        if not resume:
            msg = (
                f'{self.folder} holds a run for {self.output.name} that broke off: '
                'go on with --resume, or delete the folder'
            )
            raise BagError(msg)
        try:
            before = dict(parse_json(self._job.read_bytes()))
        except (ValueError, TypeError) as error:
            raise BagError(_damaged(self._job, error)) from error
        for name, value in json.loads(json.dumps(job)).items():
            if before.get(name) != value:
                msg = (
                    f'{self.folder} was begun with {name} {before.get(name)!r}, not {value!r}: '
                    'give the same arguments, or delete the folder and begin again'
                )
                raise BagError(msg)


def _damaged(path: Path, error: Exception) -> str:
    return f'{path} is damaged ({in_one_line(error)}): delete the folder and begin again'
