"""What `gesso sequence` writes: frames, the video, the report on flicker."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import track
from gesso.cli.generated import refuse_overwriting
from gesso.cli.kept import KEY, Requests, is_finished
from gesso.cli.style_flags import Shot, StyleFlags
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.data.frames import Frames
    from gesso.evaluate.flicker import Flicker, FlickerMeter
    from gesso.pictures import Picture
    from gesso.synthesis.sequences import Frame
    from gesso.synthesis.synthesizer import Synthesizer


class SequenceOutput:
    """The folder or video of results.

    A frame depends on those before it: so does what is asked of it, which its PNG carries. Frames of an interrupted run go on
    where they ended.

    Attributes:
        kept: Frames that were there.
    """

    def __init__(
        self,
        out: Path,
        report: Path | None,
        synth: Synthesizer,
        layouts: Frames,
        styles: StyleFlags,
        settings: dict[str, Any],
        overwrite: bool,
    ) -> None:
        """Describe what is to be made; nothing is written yet."""
        self._out, self._report, self._synth, self._layouts = out, report, synth, layouts
        self._styles, self._overwrite, self._settings = styles, overwrite, settings
        self._video = as_video(out)
        self._folder = out.with_name(f"{out.name}.frames") if self._video else out
        self.kept = 0

    @cached_property
    def _requests(self) -> list[str]:
        """What is asked of each frame, the ones before it included."""
        requests = Requests(self._synth, self._layouts, self._styles, {"sequence": self._settings})
        found, before = [], ""
        for number in range(len(self._layouts)):
            asked = requests(number, Shot("", "", self._settings["seed"]))
            before = hashlib.sha256(f"{before}{asked}".encode()).hexdigest()[:16]
            found.append(before)
        return found

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._layouts.samples[number].name}.png"

    def prepare(self) -> None:
        """See that nothing is lost or mixed, and make the folder.

        Raises:
            ConfigError: A file is there that was made otherwise, or the folder holds other pictures; or ffmpeg is missing.
        """
        from gesso.synthesis.videos import refuse_other_videos

        if self._video:
            refuse_other_videos(self._out)
        refuse_overwriting(self._folder, self._layouts, [Shot("", "", 0)], self._styles, colour=False)
        ours = {self._path(number) for number in range(len(self._layouts))}
        others = sorted(set(self._folder.rglob("*.png")) - ours) if self._folder.is_dir() else []
        if others:
            raise ConfigError(
                f"{self._folder} holds {len(others)} pictures that are no frames of this sequence, such as {others[0].name}: "
                "give another folder."
            )
        taken = [path for path in (self._out if self._video else None, self._report) if path and path.exists()]
        numbers = range(len(self._layouts))
        taken += [p for n in numbers if (p := self._path(n)).exists() and not is_finished(p, self._requests[n])]
        if taken and not self._overwrite:
            raise ConfigError(
                f"{taken[0]} is there"
                + (f", and so are {len(taken) - 1} others," if taken[1:] else "")
                + " and would be replaced: give another name, or --overwrite. Only frames that this very command made are kept."
            )
        self._folder.mkdir(parents=True, exist_ok=True)

    def finished(self, number: int) -> Picture | None:
        """A frame that is there, made as is asked now."""
        import numpy as np
        from PIL import Image

        path = self._path(number)
        if not is_finished(path, self._requests[number]):
            return None
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    def write(self, number: int, frame: Frame, there: bool) -> None:
        """Put a frame in place, whole, unless it is there.

        Raises:
            TrainingError: The disk is full or refuses.
        """
        from gesso.synthesis.synthesizer import save_png

        self.kept += there
        if not there:
            record = {**self._synth.record(frame.seed, frame.style), KEY: self._requests[number]}
            if smooth := self._settings["smooth"]:
                record["smooth"] = smooth
            save_png(self._path(number), frame.picture, record)

    def finish(self, fps: float, console: Console) -> None:
        """Make the video of the frames, where one is wanted, and drop them.

        Raises:
            ConfigError: ffmpeg fails.
        """
        from gesso.synthesis.videos import write_video

        if self._video:
            write_video(self._out, track(self._pictures(), "encoding", len(self._layouts), console), fps)
            shutil.rmtree(self._folder)

    def _pictures(self) -> Iterator[Picture]:
        for number in range(len(self._layouts)):
            picture = self.finished(number)
            assert picture is not None, "every frame was just written"
            yield picture

    def report(self, meters: Mapping[str, FlickerMeter], console: Console) -> None:
        """Write what was measured, and say it.

        Raises:
            TrainingError: The disk is full or refuses.
        """
        from gesso.checkpoints import write_safely

        if self._report is None:
            return
        found = {name: meter.result() for name, meter in meters.items()}
        document = {
            "model": self._synth.hash,
            "settings": self._settings,
            "frames": [sample.name for sample in self._layouts.samples],
            "flicker": {name: one.document() for name, one in found.items()},
        }
        write_safely(
            self._report, lambda path: void(path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8"))
        )
        for name, one in found.items():
            console.print(_line(name, one), soft_wrap=True, markup=False, highlight=False)


def as_video(out: Path) -> bool:
    """Whether OUT is the name of a video, not of a folder."""
    from gesso.synthesis.videos import is_video

    return is_video(out) and not out.is_dir()


def void(_: object) -> None:
    """Nothing."""


def _line(name: str, one: Flicker) -> str:
    """What was measured, in one line; in per cent of the range of gray values."""
    named = {"kept": "styles kept", "free": "styles free"}.get(name, name)
    parts = {
        "objects": one.objects,
        "background": one.background,
        "moving": one.moving,
        "objects' mean colours": one.colour,
    }
    said = ", ".join(f"{part} {100 * value:.2f} %" for part, value in parts.items() if value is not None)
    whole = "nothing could be compared" if one.all is None else f"flicker {100 * one.all:.2f} % of the range"
    return f"{named}: {whole} ({said})"
