"""Checkerboards in figures: the power spectrum of flat regions, with transposed and with resized upsampling.

A transposed convolution of stride 2 makes even and odd pixels of different weights, so that flat regions carry a pattern that
repeats every 2 pixels, or every 4 or 8 if an earlier doubling made it. Windows of one single class are cut from what generators
make of toy layouts; of their mean power spectrum the lines of these periods are held against the power around them.

Example: python benchmarks/checkerboard.py --out checkerboard
With trained models: python benchmarks/checkerboard.py SCENES --model transposed.safetensors --model resized.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from cyclopts import App, Parameter
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from gesso.data import toy
from gesso.labels import encode
from gesso.networks import pix2pix, pix2pixhd
from gesso.pictures import sheet
from gesso.synthesis.synthesizer import load

WINDOW = 32  # pixels; the periods below divide it
PERIODS = (2, 4, 8)
NEAR = 2  # bins around a line that are its surroundings
SCENES = 6
LARGEST = 8  # times of a spectrum's picture
SIZES = 64  # pixels: what the generators with random weights halve is a multiple of this
Floats = npt.NDArray[np.floating[Any]]
app = App(help=__doc__)


def flat_windows(label: npt.NDArray[np.integer[Any]], step: int = 8) -> Iterator[tuple[int, int]]:
    """Top left corners of windows of one single class, a step apart, away from the border of the picture."""
    for top in range(WINDOW // 2, label.shape[0] - 3 * WINDOW // 2 + 1, step):
        for left in range(WINDOW // 2, label.shape[1] - 3 * WINDOW // 2 + 1, step):
            window = label[top : top + WINDOW, left : left + WINDOW]
            if (window == window[0, 0]).all():
                yield top, left


def spectrum(windows: list[Floats]) -> Floats:
    """Mean power spectrum (WINDOW, WINDOW) of (WINDOW, WINDOW, 3) windows; frequency 0 in the middle, planes taken off before."""
    hann = np.hanning(WINDOW + 1)[:-1]
    rows, columns = np.mgrid[:WINDOW, :WINDOW].reshape(2, -1)
    plane = np.stack([np.ones(WINDOW**2), rows, columns], 1)
    total = np.zeros((WINDOW, WINDOW))
    for window in windows:
        flat = window.reshape(-1, 3)
        flat = flat - plane @ np.linalg.lstsq(plane, flat, rcond=None)[0]  # slow shading
        power = np.abs(np.fft.fft2(flat.reshape(WINDOW, WINDOW, 3) * np.outer(hann, hann)[..., None], axes=(0, 1))) ** 2
        total += power.mean(-1)
    return np.fft.fftshift(total / max(1, len(windows)))


def lines(power: Floats) -> dict[int, tuple[float, float]]:
    """Of each period: decibels of its lines above their surroundings, and their share of all power in percent.

    Lines of a period are where both frequencies are multiples of 1/period (0 too, but not both), and not of a shorter period's.
    The surroundings of one are the bins 2 before and behind it, along rows, columns or both, but never off an axis that it lies
    on, where shading and upright walls have more power than anything beside them; their geometric mean.
    """
    middle, found, seen = WINDOW // 2, {}, {(0, 0)}
    for period in PERIODS:
        multiples = range(0, WINDOW, WINDOW // period)
        bins = {(y, x) for y in multiples for x in multiples} - seen
        seen |= bins
        peaks, around = [], []
        for y, x in sorted(bins):
            steps = [(NEAR, 0), (-NEAR, 0)] * (y != 0) + [(0, NEAR), (0, -NEAR)] * (x != 0)
            near = [power[(y + dy + middle) % WINDOW, (x + dx + middle) % WINDOW] for dy, dx in steps]
            peaks.append(float(power[(y + middle) % WINDOW, (x + middle) % WINDOW]))
            around.append(float(np.exp(np.mean(np.log(np.array(near) + 1e-12)))))
        decibels = 10 * np.log10((sum(peaks) + 1e-12) / (sum(around) + 1e-12))
        found[period] = (float(decibels), 100 * sum(peaks) / float(power.sum() + 1e-12))
    return found


def untrained(kind: str, doubling: str, channels: int, seed: int) -> nn.Module:
    """A small generator with random weights, drawn as training draws them."""
    torch.manual_seed(seed)
    if kind == "pix2pix":
        network = pix2pix.UNetGenerator(in_channels=channels, width=22, downs=6, norm="instance", doubling=doubling)  # type: ignore[arg-type]
        return pix2pix.initialise(network).eval()
    network = pix2pixhd.GlobalGenerator(in_channels=channels, width=24, downs=3, blocks=4, doubling=doubling)  # type: ignore[arg-type]
    return pix2pixhd.initialise(network).eval()


def stretched(picture: Tensor) -> Floats:
    """(3, H, W) in [-1, 1] -> (H, W, 3) with the contrast of a photograph, as random weights give nearly none."""
    found = picture.movedim(0, -1).double().numpy()
    return (found - found.mean()) / (found.std() + 1e-12) * 0.5


@app.default
def main(
    data: Path | None = None,
    *,
    out: Path = Path("checkerboard"),
    model: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    seeds: int = 4,
    height: int = 128,
    width: int = 256,
) -> None:
    """Measure generators with random weights, the given models and the photographs themselves.

    Parameters
    ----------
    data: Path
        A toy dataset, whose `val` is looked at; by default six scenes are drawn.
    out: Path
        Folder for table.md, figures.json and spectra.png.
    model: tuple[Path, ...]
        Trained models of toy classes.
    seeds: int
        Generators with random weights of each kind.
    height: int
        Pixels of the drawn scenes, of which no more is taken than a multiple of 64, like of given ones.
    width: int
        Pixels of the drawn scenes, likewise.
    """
    scenes = [cropped(scene) for scene in _scenes(data, height, width)]
    places = [(i, place) for i, (label, _, _) in enumerate(scenes) for place in flat_windows(label)]
    console = Console(width=140)
    console.print(f"{len(places)} flat windows of {WINDOW}x{WINDOW} in {len(scenes)} scenes")

    def cut(pictures: list[Floats]) -> list[Floats]:
        return [pictures[i][top : top + WINDOW, left : left + WINDOW] for i, (top, left) in places]

    spectra = {"photographs": spectrum(cut([photograph / 127.5 - 1 for _, _, photograph in scenes]))}
    for kind in ("pix2pix", "pix2pixhd"):
        for doubling in ("transposed", "resize"):
            windows: list[Floats] = []
            for seed in range(seeds):
                windows += cut(_made(untrained(kind, doubling, len(toy.space()), seed), scenes))
            spectra[f"{kind}, {doubling}, random weights"] = spectrum(windows)
    for path in model:
        synth = load(path, device="cpu")
        made = [synth(label.astype(np.int32), instances=ids) / 127.5 - 1 for label, ids, _ in scenes]
        spectra[str(path)] = spectrum(cut(made))
    _report(spectra, out, console)


def _scenes(data: Path | None, height: int, width: int) -> Iterator[tuple[Any, Any, Any]]:
    """Label map, instance map and photograph."""
    if data is None:
        for index in range(SCENES):
            made = toy.scene(7, index, height, width)
            yield made.label, made.instance, made.image
        return
    for path in sorted((data / "val" / "labels").iterdir())[: 4 * SCENES]:
        kinds = ("labels", "instances", "images")
        label, ids, image = (np.array(Image.open(data / "val" / kind / path.name)) for kind in kinds)
        yield toy.space().to_indices(label), ids.astype(np.int32), image


def cropped(scene: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """The top left of a label map, an instance map and a photograph, (H, W, ...) each, in multiples of `SIZES`.

    Raises:
        SystemExit: Nothing is left of it.
    """
    high, wide = (side // SIZES * SIZES for side in scene[0].shape[:2])
    if not (high and wide):
        raise SystemExit(f"A scene of {'x'.join(map(str, scene[0].shape[:2]))}: at least {SIZES}x{SIZES} pixels.")
    label, ids, photograph = (part[:high, :wide] for part in scene)
    return label, ids, photograph


def _made(network: nn.Module, scenes: list[tuple[Any, Any, Any]]) -> list[Floats]:
    found = []
    for label, _, _ in scenes:
        semantics = encode(torch.from_numpy(label.astype(np.int64))[None], None, classes=len(toy.space()))
        with torch.no_grad():
            found.append(stretched(network(semantics)[0]))
    return found


def _report(spectra: dict[str, Floats], out: Path, console: Console) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figures = {name: lines(power) for name, power in spectra.items()}
    heads = ["", *(f"{p} px: dB" for p in PERIODS), *(f"{p} px: % of power" for p in PERIODS)]
    table, rows = Table(*heads, title="lines of the doublings in flat regions"), []
    for name, found in figures.items():
        cells = [*(f"{found[p][0]:.1f}" for p in PERIODS), *(f"{found[p][1]:.2f}" for p in PERIODS)]
        rows.append([name, *cells])
        table.add_row(name, *cells)
    console.print(table)
    text = ["| " + " | ".join(row) + " |" for row in ([*heads], ["---", *["---:"] * 6], *rows)]
    (out / "table.md").write_text("\n".join(text) + "\n")
    (out / "figures.json").write_text(json.dumps(figures, indent=1))
    pictures = []
    for power in spectra.values():
        decibels = 10 * np.log10(power / power.max() + 1e-6)  # -60 dB is black
        grey = np.rint(255 * (decibels / 60 + 1)).clip(0, 255).astype(np.uint8)
        pictures.append(np.repeat(grey.repeat(LARGEST, 0).repeat(LARGEST, 1)[..., None], 3, -1))
    sheet([pictures], list(spectra)).save(out / "spectra.png")
    console.print(f"{out / 'table.md'}, {out / 'figures.json'}, {out / 'spectra.png'}", soft_wrap=True)


if __name__ == "__main__":
    app()
