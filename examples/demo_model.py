"""Makes the demo model that ships inside gesso (src/gesso/demo_model/), from nothing: hours on 2 cores, minutes on a GPU.

    python examples/demo_model.py demo-model
    python examples/demo_model.py demo-model --ship          # and copy the result to where the package ships it

Toy street scenes; a first stage of training on crops, a second on whole scenes; styles of every class; a model file of half the
size; its evaluation by a segmenter that was trained on the real scenes. Every part goes on where an earlier attempt stopped:
run the same command again.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from rich.console import Console

from gesso.checkpoints import load_model, read_info, save_half, write_safely
from gesso.cli import main as gesso
from gesso.cli.common import DataFlags
from gesso.cli.generate import open_layouts
from gesso.cli.generated import real_of
from gesso.devices import choose_device
from gesso.errors import GessoError, ModelFileError
from gesso.evaluate.results import COLUMNS, Evaluation
from gesso.pictures import layout_picture, sheet
from gesso.synthesis.synthesizer import Synthesizer, load

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "gesso" / "demo_model"
LARGEST = 8_000_000  # bytes of the model file: what anyone downloads with gesso

SIZE, SEED = (128, 256), 6  # of the scenes
MODES, SMALLEST_OBJECT = 10, 48  # styles per class at most; pixels of what counts, so that people and signs have some
ALWAYS: dict[str, Any] = {  # what both stages change of the small preset
    "preset": "pix2pixhd-small",
    "instance-features": True,
    "resize": "fixed",
    "height": SIZE[0],
    "width": SIZE[1],
    "doubling": "resize",
    # Instance norm takes out of every picture how light it is as a whole, and such generators learn to smuggle that past it in
    # small spots of noise (arXiv 1912.04958, section 2.1). Batch norm keeps the light, and an edit changes only what is near it.
    "norm": "batch",
    "batch": 4,
    "lambda-l1": 0.0,
    "seed": SEED,
    "save-every": 200,
}


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        passes: Over the scenes, at the full learning rate.
        falling: Further passes, in which the learning rate falls to zero.
        settings: Of `gesso train`, beside `ALWAYS`.
    """

    passes: int
    falling: int
    settings: dict[str, Any] = field(default_factory=dict)


STAGES: dict[str, Stage] = {  # each begins with the networks of the one before
    "crops": Stage(passes=16, falling=8, settings={"crop": (64, 128)}),
    "whole": Stage(passes=1, falling=0, settings={"lr": 2e-5}),  # as it is used: batch norm measures whole scenes
}
SHOWN = 4  # rows of the small picture
SCORES = ("pixel_accuracy", "mean_iou", "object_agreement", "frechet", "l1", "style_l1", "diversity")


def demo_model(
    out: Path,
    /,
    *,
    device: str = "auto",
    scenes: int = 1500,
    passes: int | None = None,
    segmenter_steps: int | None = None,
    ship: bool = False,
) -> None:
    """Make the demo model in a folder.

    Parameters
    ----------
    out: Path
        Folder for everything; what an earlier attempt left there is gone on with.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    scenes: int
        How many are drawn; a fifth of them is held out.
    passes: int
        Of each stage, instead of the usual ones: for trying this script.
    segmenter_steps: int
        Of the segmenter that judges the pictures, instead of the usual number.
    ship: bool
        Copy model, evaluation, picture and README to src/gesso/demo_model/ of this clone; the README says if it was a trial.
    """
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)  # so that files name each other, not folders of this machine
    _command(console, "toy", "scenes", "--count", scenes, "--size", f"{SIZE[0]}x{SIZE[1]}", "--seed", SEED)
    before: dict[str, Any] = {}
    stages = lasting(STAGES, passes)
    for name, stage in stages.items():
        duration = {"epochs": stage.passes, "epochs-decay": stage.falling}
        settings = {**ALWAYS, **stage.settings, **duration, **before, "device": device, "out": name}
        _command(console, "train", "scenes", *_flags(settings))
        before = {"init-from": name}
    trained, whole, model = Path(name) / "model.safetensors", Path("float32.safetensors"), Path("model.safetensors")
    flags = ("--device", device)
    _command(
        console,
        "styles",
        trained,
        *_flags({"data": "scenes", "modes": MODES, "minimum-area": SMALLEST_OBJECT, "out": whole}),
        *flags,
    )
    save_half(whole, model)
    size = refuse_large(model)
    console.print(f"{model}: {size / 1e6:.2f} MB")
    steps = ("--segmenter-steps", segmenter_steps) if segmenter_steps else ()
    _command(console, "evaluate", f"demo={model}", "--data", "scenes", "--out", "evaluation", *steps, *flags)
    with console.status("drawing a picture, comparing precisions"):
        picture, lost = _picture(load(model, device)), _lost(load(whole, device), load(model, device))
    picture.save("held-out.jpg", quality=85)
    Path("README.md").write_text(
        _readme(model, lost, stages, scenes, command_line(scenes, passes, segmenter_steps), device), encoding="utf-8"
    )
    if ship:
        put((model, Path("evaluation/evaluation.json"), Path("held-out.jpg"), Path("README.md")), PACKAGE)
        console.print(f"copied to {PACKAGE}", soft_wrap=True)


def lasting(stages: Mapping[str, Stage], passes: int | None) -> dict[str, Stage]:
    """The stages as they are trained: with so many passes each and no others, where the number is given."""
    return {
        name: stage if passes is None else replace(stage, passes=passes, falling=0) for name, stage in stages.items()
    }


def command_line(scenes: int, passes: int | None, segmenter_steps: int | None) -> str:
    """What makes the same model again."""
    trial = {"--passes": passes, "--segmenter-steps": segmenter_steps}
    given = [f"{flag} {number}" for flag, number in trial.items() if number]
    return " ".join(["python examples/demo_model.py OUT --scenes", str(scenes), "--ship", *given])


def put(files: Sequence[Path], folder: Path) -> None:
    """Copy files into a folder, each in one move, so that none is ever half there."""
    for file in files:
        write_safely(folder / file.name, partial(shutil.copyfile, file))


def _flags(settings: dict[str, Any]) -> Iterator[Any]:
    for name, value in settings.items():
        yield f"--{name}"
        if value is not True:
            yield from value if isinstance(value, tuple) else (value,)


def _command(console: Console, *words: object) -> None:
    """Run a command of gesso; it ends the script where it fails."""
    console.rule(f"gesso {words[0]}")
    console.print(f"gesso {' '.join(map(str, words))}", soft_wrap=True, style="dim")
    try:
        gesso([str(word) for word in words])
    except SystemExit as end:
        if end.code:
            raise


def refuse_large(model: Path) -> int:
    """Bytes of a model file that may ship.

    Raises:
        ModelFileError: It is too large.
    """
    size = model.stat().st_size
    if size > LARGEST:
        raise ModelFileError(
            f"{model} has {size / 1e6:.2f} MB, and {LARGEST / 1e6:g} MB may ship. Make the networks narrower in ALWAYS, or look "
            f"for fewer styles than MODES = {MODES}: each has a thumbnail of 12 kB."
        )
    return size


def _layouts(synth: Synthesizer, count: int | None = None) -> Iterator[dict[str, Any]]:
    """Held-out scenes, read as the model was trained."""
    layouts = open_layouts(synth, Path("scenes"), DataFlags(), "val", None, original_size=False)
    for number in np.linspace(0, len(layouts) - 1, min(count or len(layouts), len(layouts))).round().astype(int):
        yield layouts[int(number)]


def _picture(synth: Synthesizer) -> Any:
    """Layouts, two styles of each, and the real scenes."""
    rows = []
    for number, item in enumerate(_layouts(synth, SHOWN)):
        seeds = 2 * number, 2 * number + 1
        made = [synth(item["label"].numpy(), item["instance"].numpy(), seed=seed) for seed in seeds]
        rows.append([layout_picture(item, synth.label_space), *made, *real_of(item)])
    return sheet(rows, ["layout", "generated", "another style", "real (toy)"])


def _lost(whole: Synthesizer, half: Synthesizer) -> tuple[float, int]:
    """Mean and largest difference, of 255, that half precision makes in held-out pictures."""
    gaps = []
    for item in _layouts(whole, 32):
        maps = item["label"].numpy(), item["instance"].numpy()
        gaps.append(np.abs(whole(*maps, seed=0).astype(int) - half(*maps, seed=0)))
    return float(np.mean(gaps)), int(np.max(gaps))


def _readme(
    model: Path, lost: tuple[float, int], stages: Mapping[str, Stage], scenes: int, command: str, device: str
) -> str:
    """How the model was made and what it scores, beside it in the package."""
    loaded = load_model(model)
    parameters = ", ".join(f"{n} {sum(p.numel() for p in m.parameters()):,}" for n, m in loaded.networks.items())
    listed = "\n".join(
        f"- {name}: {stage.passes} passes and {stage.falling} at a falling learning rate, {_steps(Path(name))} steps; "
        f"{_settings(stage.settings) or 'whole scenes'}"
        for name, stage in stages.items()
    )
    place = torch.cuda.get_device_name() if "cuda" in choose_device(device) else f"{os.cpu_count()} processor cores"
    return f"""# The demo model

`model.safetensors` is a pix2pixHD with a style per object, of the toy world: {parameters} parameters, stored as float16
({model.stat().st_size / 1e6:.2f} MB). Hash: {loaded.hash}.

Made by `{command}` on {place},
{loaded.info.created}, with gesso {loaded.info.gesso_version} and torch {torch.__version__}.

- data: {scenes} toy scenes of {SIZE[0]}x{SIZE[1]} at all times of day (seed {SEED}), a fifth of them held out
- both trainings: {_settings(ALWAYS)}
{listed}
- styles: up to {MODES} modes per class, of objects of at least {SMALLEST_OBJECT} pixels

On held-out layouts, judged by a segmenter that was trained on the real scenes (`evaluation.json` has the protocol and the
intervals, `held-out.jpg` shows some pictures):

{_scores(Evaluation.read(Path("evaluation/evaluation.json")))}

Half precision changes held-out pictures by {lost[0]:.3f} of 255 in the mean, and no value by more than {lost[1]}.

What to expect: light, materials, streets, cars and trees at a glance, in the style that is chosen; not sharpness. Facades have
their colours and hints of windows, near the camera plain walls; wheels and faces are spots of colour.
"""


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _scores(evaluation: Evaluation) -> str:
    """A table of what was measured, the real scenes first."""
    lines = [f"| | {' | '.join(row.name for row in evaluation.rows)} |", "| --- |" + " --- |" * len(evaluation.rows)]
    for name in SCORES:
        found = [row.numbers.get(name) for row in evaluation.rows]
        if any(found):
            cells = " | ".join(f"{number.value:.4f}" if number else "" for number in found)
            lines.append(f"| {COLUMNS[name].title} | {cells} |")
    return "\n".join(lines)


def _steps(run: Path) -> int:
    return read_info(run / "model.safetensors").step


if __name__ == "__main__":
    try:
        cyclopts.run(demo_model)
    except GessoError as error:
        sys.exit(f"demo_model.py: {error}")
