"""What `gesso sequence` reads: folders or videos of layouts, as frames in order with ids that last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import DataFlags, say_components, track
from gesso.cli.generate import find_listing, open_layouts
from gesso.cli.read_as import as_trained
from gesso.cli.style_flags import Shot, StyleFlags
from gesso.cli.stylist import maps_of, show
from gesso.errors import DataError

if TYPE_CHECKING:
    from gesso.data.frames import Frames
    from gesso.labels import LabelSpace
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True)
class Decoded:
    """The frames of a video, still pictures."""

    video: Path
    files: Sequence[Path]

    def __len__(self) -> int:
        return len(self.files)

    def classes(self, space: LabelSpace) -> Iterator[None]:
        """Turn them into label maps, file by file.

        Raises:
            LabelError: One shows something else than classes in their colours.
        """
        import numpy as np
        from PIL import Image

        from gesso.synthesis.videos import layout_of

        for number, file in enumerate(self.files, start=1):
            with Image.open(file) as image:
                picture = np.asarray(image.convert("RGB"))
            values = space.to_values(layout_of(picture, space, f"frame {number} of {self.video}"))
            np.save(
                file.with_suffix(".npy"),
                values.astype(np.result_type(*map(np.min_scalar_type, (values.min(), values.max())))),
            )
            file.unlink()
            yield


def decode(video: Path, folder: Path) -> Decoded:
    """Write the frames of a video into a new folder.

    Raises:
        ConfigError: ffmpeg is missing.
        DataError: The video cannot be read.
    """
    from gesso.synthesis.videos import read_frames

    folder.mkdir(parents=True)
    return Decoded(video, read_frames(video, folder))


def open_frames(
    synth: Synthesizer,
    data: Path | None,
    flags: DataFlags,
    split: str,
    limit: int | None,
    original_size: bool,
    photographs: bool,
    track_ids: bool,
    console: Console,
) -> Frames:
    """The frames, read as `gesso generate` reads layouts, in order, with ids that last.

    Raises:
        ConfigError: The flags contradict each other.
        DataError: There is nothing to read, frames differ in size, or one lacks its instance map.
    """
    from gesso.data.frames import Frames, in_order, refuse_gaps, refuse_other_sizes

    if data is not None and flags.instances and not (flags.labels or flags.sources):
        data, flags = None, replace(flags, labels=data)  # FRAMES with its instance maps in a folder of their own
    if data is not None and not data.exists():
        raise DataError(
            f"{data} does not exist; give a folder of label maps, or a video of them in their classes' colours."
        )
    refuse_gaps(find_listing(data, as_trained(synth.info, data, flags), split, pictures=False))

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    layouts = open_layouts(synth, data, flags, split, None, original_size, photographs, say)
    samples = in_order(layouts.samples)[:limit]
    refuse_other_sizes(samples)
    frames = Frames.of(layouts, samples)
    if track_ids or not all(sample.instance for sample in samples):
        if not track_ids:
            say_components(frames, console)
        frames.rename = _tracked(frames, console)
    return frames


def _tracked(frames: Frames, console: Console) -> Any:
    """Track the objects of all frames; what gives a frame's instance map its lasting ids."""
    from gesso.data.frames import Frames
    from gesso.synthesis.tracking import Tracker, renamed

    assert frames.space
    bare = Frames.of(frames, [replace(sample, image=None) for sample in frames.samples])
    tracker = Tracker(frames.space)
    everyone = [tracker(*maps_of(bare[n])) for n in track(range(len(bare)), "tracking objects", len(bare), console)]
    return lambda number, label, instance: renamed(label, instance, everyone[number])


class FirstStylist:
    """Gives the first frame the style of a photograph of it; what comes later is drawn."""

    def __init__(self, synth: Synthesizer, flags: StyleFlags, layouts: Frames, console: Console) -> None:
        """As `open_stylist`."""
        from gesso.cli.stylists import open_stylist
        from gesso.data.frames import Frames
        from gesso.synthesis.style import parse_style

        first = Frames.of(layouts, layouts.samples[:1])
        first.rename = layouts.rename
        shown = show(first, flags.own_photograph)
        framed = Frames.of(layouts, shown.samples)
        framed.rename = layouts.rename
        self._first: Style | None = open_stylist(synth, flags, framed, console).styles(framed[0], [Shot("", "", 0)])[0]
        assert synth.label_space
        self._later: Style = parse_style(flags.style or [], synth.label_space)
        self._name = layouts.samples[0].name

    def styles(self, item: dict[str, Any], shots: Sequence[Shot]) -> list[Style | None]:
        """The style that a frame brings."""
        return [self._first if item["name"] == self._name else self._later] * len(shots)
