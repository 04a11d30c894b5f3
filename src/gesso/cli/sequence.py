"""`gesso sequence`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from gesso.cli.common import Data, DataFlags, RuntimeName, track
from gesso.cli.sequence_frames import decode, open_frames
from gesso.cli.sequence_output import SequenceOutput, as_video
from gesso.cli.style_flags import Shot, StyleFlags, Styles
from gesso.cli.stylist import maps_of
from gesso.errors import ConfigError, GessoError

if TYPE_CHECKING:
    from gesso.cli.stylist import Stylist
    from gesso.data.frames import Frames
    from gesso.evaluate.flicker import FlickerMeter
    from gesso.synthesis.sequences import Sequencer
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer

FREE: Literal["free"] = "free"


def sequence(
    frames: Path | None = None,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    model: Path,
    split: str = "",
    styles: Literal["kept", "free"] = "kept",
    track_ids: bool = False,
    smooth: float = 0.0,
    smooth_styles: float = 0.0,
    fps: float = 12.0,
    report: Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    original_size: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    statistics: Literal["picture", "running"] | None = None,
    runtime: RuntimeName = "torch",
    chosen: Styles = None,
    flags: Data = None,
) -> None:
    """Turn layouts that follow each other into frames or a video, with one style per object.

    Parameters
    ----------
    frames: Path
        Folder of label maps, a dataset, or a video of label maps in the colours of the model's classes. Frames go by name,
        numbers as numbers.
    out: Path
        Folder for the frames, or a video: NAME.mp4 or NAME.webm (needs ffmpeg).
    model: Path
        A .safetensors written by gesso.
    split: str
        Part of FRAMES, where that is a dataset with several.
    styles: str
        kept: each object, and each class whose regions share a style, looks in all frames as in its first. free: each frame is
        drawn anew, as gesso generate would with a seed per frame.
    track_ids: bool
        Track objects by overlap though there are instance maps, because their ids mean nothing in the next frame. Without
        instance maps objects are always tracked.
    smooth: float
        0 to below 1: so much of a picture is the one before, carried along by the motion of each object, where both show the
        same. Hides flicker, and fine texture with it.
    smooth_styles: float
        0 to 1, with --styles free: so much of an object's style is its style in the frame before. Lets styles that are taken from
        each frame's photograph change slowly.
    fps: float
        Frames per second of a video.
    report: Path
        Also measure flicker, with kept styles and without (which renders every frame once more), and of the photographs where
        there are any; written as JSON.
    seed: int
        Of what styles leave open.
    limit: int
        Only the first so many frames.
    original_size: bool
        Keep the layouts' own size instead of the size that the model was trained at.
    overwrite: bool
        Replace frames, videos and reports that are there and were made of something else or in another way.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    statistics: str
        What batch norm of pix2pix takes: picture or running; what the model file says unless given.
    runtime: str
        What computes: torch, plain, compile, onnx, openvino or openvino-int8.
    """
    from gesso.synthesis.sequences import Sequencer, require_space
    from gesso.synthesis.synthesizer import load

    _check(fps, limit, chosen := chosen or StyleFlags())
    console = Console()
    with console.status(f"loading {model.name}"):
        synth = load(model, device, statistics, runtime)
    space = require_space(synth)
    made = Sequencer(synth, styles, seed, smooth, smooth_styles)
    with ExitStack() as stack:
        flags = flags or DataFlags()
        if frames is not None and as_video(frames):
            work = Path(stack.enter_context(TemporaryDirectory(prefix="gesso-sequence-"))) / "frames"
            frames = _decoded(frames, work, space, console)
        photographs = bool(report or chosen.style_from_photographs)
        layouts = open_frames(synth, frames, flags, split, limit, original_size, photographs, track_ids, console)
        stylist = _stylist(synth, chosen, layouts, console)
        settings = {
            "keeping": styles,
            "seed": seed,
            "smooth": smooth,
            "smooth_styles": smooth_styles,
            "track": track_ids,
        }
        output = SequenceOutput(out, report, synth, layouts, chosen, settings, overwrite)
        output.prepare()
        meters = _meters(report, layouts, styles)
        other = Sequencer(synth, FREE if styles == "kept" else "kept", seed) if report else None
        for _ in track(_render(output, layouts, stylist, made, other, meters), "rendering", len(layouts), console):
            pass
        kept = f"; {output.kept} of them were there, made in the same way" if output.kept else ""
        output.finish(fps, console)
        console.print(f"{len(layouts)} frames in {out}{kept}", soft_wrap=True, markup=False, highlight=False)
        output.report(meters, console)


def _check(fps: float, limit: int | None, chosen: StyleFlags) -> None:
    chosen.check()
    if not 0 < fps <= 1000 or (limit is not None and limit < 1):
        raise ConfigError(
            f"--fps {fps:g} --limit {limit}: frames per second are above 0 and up to 1000, a limit is at least 1."
        )
    for name in ("random_styles", "interpolate", "steps", "copy_style"):
        if getattr(chosen, name) is not None:
            flag = name.replace("_", "-")
            raise ConfigError(
                f"--{flag} makes several pictures, or needs objects of one layout; it is for gesso generate."
            )


def _decoded(video: Path, folder: Path, space: Any, console: Console) -> Path:
    """The frames of a video as label maps in a folder."""
    with console.status(f"reading {video.name}"):
        frames = decode(video, folder)
    for _ in track(frames.classes(space), "reading classes", len(frames), console):
        pass
    return folder


def _stylist(synth: Synthesizer, flags: StyleFlags, layouts: Frames, console: Console) -> Stylist:
    """Says which style each frame brings; a photograph alone is one of the first frame."""
    from gesso.cli.sequence_frames import FirstStylist
    from gesso.cli.stylists import open_stylist

    if flags.own_photograph and synth.style_space is not None:
        return FirstStylist(synth, flags, layouts, console)
    return open_stylist(synth, flags, layouts, console)


def _meters(report: Path | None, layouts: Frames, keeping: str) -> dict[str, FlickerMeter]:
    """What measures flicker: of what is made, of what would be made otherwise, of photographs."""
    from gesso.evaluate.flicker import FlickerMeter

    if report is None:
        return {}
    if len(layouts) < 2:
        raise ConfigError(f"--report {report}: flicker is measured between frames, and there is only one.")
    assert layouts.space
    names = [keeping, "free" if keeping == "kept" else "kept"]
    names += ["photographs"] * all(sample.image for sample in layouts.samples)
    return {name: FlickerMeter(layouts.space) for name in names}


def _render(
    output: SequenceOutput,
    layouts: Frames,
    stylist: Stylist,
    made: Sequencer,
    other: Sequencer | None,
    meters: dict[str, FlickerMeter],
) -> Iterator[None]:
    """Make what is missing, in order, and measure; a step per frame."""
    from gesso.pictures import to_uint8

    for number in range(len(layouts)):
        item = layouts[number]
        label, instance = maps_of(item)
        own = _Own(stylist, item)
        try:
            picture = output.finished(number)
            frame = made(label, instance, own) if picture is None else made.take(picture, label, instance, own)
            pictures = [frame.picture, *([other(label, instance, own).picture] if other else [])]
        except GessoError as error:  # it knows the arrays, not the file
            raise type(error)(f"{layouts.samples[number].label}: {error}") from None
        output.write(number, frame, there=picture is not None)
        pictures += [to_uint8(item["image"])] if "image" in item else []
        for meter, one in zip(meters.values(), pictures, strict=False):
            meter.add(one, label, instance)
        yield


class _Own:
    """The style that a frame brings, found when it is first asked for."""

    def __init__(self, stylist: Stylist, item: dict[str, Any]) -> None:
        self._stylist, self._item = stylist, item
        self._found: list[Style | None] = []

    def __call__(self) -> Style | None:
        if not self._found:
            self._found = self._stylist.styles(self._item, [Shot("", "frame", 0)])
        return self._found[0]
