"""Is a model of another label space worth anything? Fine-tuning against training from scratch, at equal time.

A toy world of 11 classes is what the old model knows. The new one has 3 more, taxis, brick buildings and blossoming trees, which
look like nothing else, and a tenth of the scenes. Both trainings get the same minutes, settings and data; one of them begins with
the old model (`--transfer labels`); they take turns, so that what else the machine does slows both alike. What is compared is
the mean absolute difference to held-out photographs, everywhere and in the pixels of the new classes, of the last and of the best
model of each. The best one was chosen on other held-out photographs (`val`) than those that are measured (`test`).

Example: python benchmarks/fine_tuning.py --out fine-tuning --minutes 30 --old-minutes 60
With a model that is there already: python benchmarks/fine_tuning.py --out fine-tuning --minutes 30 --old run/model.safetensors
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cyclopts import App
from PIL import Image
from rich.console import Console
from rich.table import Table

from gesso.checkpoints import load_model
from gesso.data import toy
from gesso.labels import LabelClass, LabelSpace
from gesso.pictures import sheet
from gesso.synthesis.synthesizer import Synthesizer, load

SPLIT = {  # new class: (old class, style in the toy world, colour, the class that it takes over from)
    "taxi": ("car", "yellow", (250, 200, 20), "car"),
    "brick building": ("building", "brick", (150, 70, 60), "building"),
    "blossom tree": ("tree", "blossom", (240, 160, 200), "tree"),
}
ARMS = ("from scratch", "fine-tuned")
SHOWN = 4  # layouts in the picture
CHOOSING = 24  # scenes that the best model is chosen on, which is as many as a training measures
RESAMPLED = 2000  # times, for intervals
app = App(help=__doc__)


def new_space() -> LabelSpace:
    """The toy classes and the three new ones, in another order than theirs."""
    old = toy.space()
    first = max(value for c in old.classes for value in c.values) + 1
    more = [
        LabelClass(name=name, values=(first + i,), colour=colour, thing=True)
        for i, (name, (_, _, colour, _)) in enumerate(SPLIT.items())
    ]
    return LabelSpace(name="toy-more", classes=(*more, *old.classes), ignore=old.ignore)


def write_new_world(root: Path, count: int, held_out: int, size: tuple[int, int], seed: int) -> None:
    """So many scenes to learn from, `CHOOSING` to choose the best model on, and so many to measure, in the new label space."""
    space, old = new_space(), toy.space()
    chosen_on, end = count + CHOOSING, count + CHOOSING + held_out
    for split, indices in (
        ("train", range(count)),
        ("val", range(count, chosen_on)),
        ("test", range(chosen_on, end)),
    ):
        shutil.rmtree(root / split, ignore_errors=True)  # of an earlier version, whose parts may have been others
        for kind in ("images", "labels", "instances", "scenes"):
            (root / split / kind).mkdir(parents=True)
        for index in indices:
            made = toy.scene(seed, index, *size)
            label = space.to_values(made.label.astype(np.int32) + len(SPLIT)).astype(np.uint8)
            for name, (owner, style, _, _) in SPLIT.items():
                ids = [o["instance"] for o in made.attributes["objects"] if (o["class"], o["style"]) == (owner, style)]
                label[np.isin(made.instance, ids)] = space.classes[space.index(name)].values[0]
            assert label.max() < 255 and len(space) == len(old) + len(SPLIT)
            toy.save(toy.Scene(made.image, label, made.instance, made.attributes), root / split, f"{index:06d}")
    space.save(root / "labels.json")


def train(data: Path, out: Path, minutes: float, preset: str, size: tuple[int, int], *more: str) -> None:
    """`gesso train` in a process of its own; it goes on where it was interrupted."""
    flags = ["--preset", preset, "--minutes", f"{minutes:g}", "--height", f"{size[0]}", "--width", f"{size[1]}"]
    flags += [
        "--epochs",
        "100000",
        "--epochs-decay",
        "0",
        "--sample-every",
        "250",
        "--device",
        "cpu",
        "--workers",
        "0",
    ]  # time alone ends it
    subprocess.run([sys.executable, "-m", "gesso", "train", str(data), "--out", str(out), *flags, *more], check=True)


def distances(
    synth: Synthesizer, data: Path
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[Image.Image]]:
    """Per photograph of `test`: mean absolute difference, 0..1, everywhere and in new classes (NaN without); first pictures."""
    whole, new, shown = [], [], []
    for path in sorted((data / "test" / "labels").iterdir()):
        label, instance, photograph = (
            np.array(Image.open(data / "test" / kind / path.name)) for kind in ("labels", "instances", "images")
        )
        assert synth.label_space is not None
        index = synth.label_space.to_indices(label)
        made = synth(index, instances=instance.astype(np.int32))
        gap = np.abs(made.astype(float) - photograph).mean(-1) / 255
        whole.append(gap.mean())
        new.append(gap[index < len(SPLIT)].mean() if (index < len(SPLIT)).any() else np.nan)
        if len(shown) < SHOWN:
            shown.append(Image.fromarray(made))
    return np.array(whole), np.array(new), shown


def interval(values: npt.NDArray[np.float64]) -> str:
    """Mean and 95 % interval over photographs, by resampling; says so where there is none."""
    values = values[~np.isnan(values)]
    if not len(values):
        return "in none of these scenes"
    draws = np.random.default_rng(0).choice(values, (RESAMPLED, len(values))).mean(1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return f"{values.mean():.4f} ({low:.4f} to {high:.4f})"


@app.default
def main(
    *,
    out: Path = Path("fine-tuning"),
    minutes: float = 30,
    old: Path | None = None,
    old_minutes: float = 60,
    turns: int = 6,
    preset: str = "pix2pixhd-small",
    scenes: int = 400,
    held_out: int = 60,
    height: int = 128,
    width: int = 256,
    seed: int = 100,
) -> None:
    """Write both worlds, train, measure; the same command goes on where it was interrupted.

    Parameters
    ----------
    out: Path
        Folder for data, runs, table.md, figures.json and comparison.png.
    minutes: float
        Of each of the two trainings that are compared.
    old: Path
        A model of the toy classes of the same preset and size; by default one is trained.
    old_minutes: float
        Of that training.
    turns: int
        That each of the two trainings takes, one after the other; it goes on from its saved state.
    preset: str
        Of all trainings.
    scenes: int
        That the old model learns from; the new world has a tenth.
    held_out: int
        Scenes of the new world that are measured; the best model is chosen on 24 others.
    height: int
        Pixels.
    width: int
        Pixels.
    seed: int
        Of the new world; the old one has the next.
    """
    size, console = (height, width), Console()
    if not all((out / "new" / name).exists() for name in ("test", "labels.json")):
        write_new_world(out / "new", max(1, scenes // 10), held_out, size, seed)
    if old is None:
        toy.write(out / "old", scenes * 5 // 4, height=height, width=width, seed=seed + 1)
        train(out / "old", out / "run-old", old_minutes, preset, size)
        old = out / "run-old"
    classes = ",".join(f"{new}={origin}" for new, (*_, origin) in SPLIT.items())
    tuned = ("--init-from", str(old.resolve()), "--transfer", "labels", "--class-map", classes)
    flags = dict(zip(ARMS, ((), tuned), strict=True))
    for turn in range(1, turns + 1):
        for arm in ARMS if turn % 2 else reversed(ARMS):
            train(out / "new", out / arm.replace(" ", "-"), minutes * turn / turns, preset, size, *flags[arm])
    report(out, console)


def report(out: Path, console: Console) -> None:
    """Table, figures and picture of both trainings."""
    table = Table("", "steps", "everywhere", "in new classes", title="mean absolute difference to photographs of test")
    figures: dict[str, dict[str, object]] = {}
    found, columns = {}, []
    for kind in ("model", "best"):
        for arm in ARMS:
            path = out / arm.replace(" ", "-") / f"{kind}.safetensors"
            if not path.exists():
                table.add_row(f"{arm}, {kind}", "", f"there is no {path.name}", "")
                continue
            whole, new, shown = distances(load(path, device="cpu"), out / "new")
            step = load_model(path).info.step
            found[kind, arm] = whole, new
            columns += [shown] if kind == "model" else []
            table.add_row(f"{arm}, {kind}", f"{step}", interval(whole), interval(new))
            in_new = [None if np.isnan(value) else value for value in new.tolist()]  # JSON has no NaN
            figures[f"{arm}, {kind}"] = {"step": step, "everywhere": whole.tolist(), "new classes": in_new}
    for kind in ("model", "best"):
        if all((kind, arm) in found for arm in ARMS):
            gains = [a - b for a, b in zip(found[kind, ARMS[0]], found[kind, ARMS[1]], strict=True)]
            table.add_row(f"gain by the old model, {kind}", "", *(interval(gain) for gain in gains))
    console.print(table)
    names = sorted(path.name for path in (out / "new" / "test" / "images").iterdir())[:SHOWN]
    real = [Image.open(out / "new" / "test" / "images" / name) for name in names]
    rows = [[np.asarray(column[i]) for column in (*columns, real)] for i in range(len(names))]
    sheet(rows, [*ARMS, "photograph"]).save(out / "comparison.png")
    (out / "figures.json").write_text(json.dumps(figures, indent=1, allow_nan=False))
    cells = list(zip(*([*map(str, column.cells)] for column in table.columns), strict=True))
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    heads = "| | steps | everywhere | in new classes |\n| --- | ---: | --- | --- |\n"
    (out / "table.md").write_text(heads + "\n".join(lines) + "\n")
    console.print(f"{out / 'table.md'}, {out / 'figures.json'}, {out / 'comparison.png'}", soft_wrap=True)


if __name__ == "__main__":
    app()
