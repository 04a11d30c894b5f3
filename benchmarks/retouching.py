"""The photo round trip, measured: a car removed, another moved, the road restyled, in a handful of photographs.

    gesso toy scenes --count 40 --size 128x256
    python benchmarks/retouching.py MODEL SEGMENTER scenes --split val --out measured

For each edit of each photograph: whether every byte outside of what was touched is the photograph's own; how strong the gradient
across the border of the touched region is (95th percentile of the largest channel's step between two neighbouring pixels, one on
either side), beside that of the photograph at the same places, that of the photograph as a whole, and that of the model's picture
pasted in as it is; for the removed car the share of its pixels in which the segmenter sees a car before and after. Written are
strips of photograph, labels, result and difference, and the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from gesso import Synthesizer, load
from gesso.data import layouts
from gesso.data.readers import read_instance, read_label, read_photograph
from gesso.labels import ByteArray, colourise
from gesso.pictures import sheet
from gesso.synthesis.editing import ObjectSummary
from gesso.synthesis.retouching import Original, Retouched, object_name, read_original, retouch_original
from gesso.synthesis.retouching.original import read_label as read_with
from gesso.synthesis.retouching.sizes import resized, resized_map
from gesso.synthesis.segmenter import PhotoSegmenter, load_segmenter

SMALLEST, LARGEST = 0.003, 0.15  # shares of the picture that a car has
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """A photograph with the cars that are edited, the largest first."""

    name: str
    original: Original
    cars: list[ObjectSummary]
    agreement: float


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("segmenter", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--car", default="car", help="the class of which objects are removed and moved")
    parser.add_argument("--road", default="road", help="the class that is restyled")
    parser.add_argument("--given", action="store_true", help="take the maps of DATA, not what the segmenter finds")
    parser.add_argument("--out", type=Path, default=Path("retouching"))
    asked = parser.parse_args()
    synth, segmenter = load(asked.model, "cpu"), load_segmenter(asked.segmenter)
    scenes = list(find_scenes(asked, synth, segmenter))
    rows: list[dict[str, Any]] = []
    strips, captions = [], []
    for scene in scenes:
        for kind, edits in edits_of(scene, scenes, asked.car, asked.road):
            began = time.perf_counter()
            done = retouch_original(scene.original, edits)
            seconds = time.perf_counter() - began
            rows.append(
                {
                    "photograph": scene.name,
                    "edit": kind,
                    "seconds": seconds,
                    **measured(scene, done, kind, segmenter, asked.car),
                }
            )
            strips.append(strip(scene, done))
            captions.append(f"{scene.name}: {kind} {json.dumps(edits)[:90]}")
    asked.out.mkdir(parents=True, exist_ok=True)
    per = 3
    for number in range(0, len(strips), per):
        titles = ["photograph", "labels after", "result", "difference x2"]
        page = sheet(strips[number : number + per], titles, captions[number : number + per])
        page.save(asked.out / f"strips-{number // per + 1}.png")
    (asked.out / "figures.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    report(rows, scenes, Console(width=150))


def find_scenes(asked: argparse.Namespace, synth: Synthesizer, segmenter: PhotoSegmenter) -> Iterator[Scene]:
    """Photographs, evenly from all over the data, in which the segmenter finds a car of a usual size."""
    listing = layouts.find(asked.data, asked.split)
    space = synth.label_space
    assert space is not None
    order = np.linspace(0, len(listing.samples) - 1, min(len(listing.samples), 8 * asked.count)).round().astype(int)
    order = np.concatenate([order[start::8] for start in range(8)])
    found = 0
    for number in dict.fromkeys(order.tolist()):
        sample = listing.samples[number]
        assert sample.image and sample.label
        truth = read_label(sample.label, space)
        if asked.given:
            instances = read_instance(sample.instance) if sample.instance else None
            original = read_original(read_photograph(sample.image), synth, labels=truth, instances=instances)
        else:
            original = read_original(read_photograph(sample.image), synth, segmenter)
        least, most = (share * original.layout.label.size for share in (SMALLEST, LARGEST))
        seen = [one for one in original.layout.objects() if one.class_name == asked.car]
        cars = sorted((one for one in seen if least <= one.visible <= most), key=lambda one: -one.visible)
        if not cars:
            continue
        truth = resized_map(truth, original.layout.shape)
        known = truth < len(space)
        yield Scene(sample.name, original, cars, float((truth == original.layout.label)[known].mean()))
        found += 1
        if found == asked.count:
            return


def edits_of(scene: Scene, scenes: list[Scene], car: str, road: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The largest car removed; the next one, if there is one, moved; the road as where it is most unlike."""
    layout, wide = scene.original.layout, scene.original.size[1]
    yield "remove", [{"remove": object_name(layout, scene.cars[0].key)}]
    other = scene.cars[min(1, len(scene.cars) - 1)]
    left, _, right, _ = other.box
    width, room = right - left, (left, layout.shape[1] - right)
    step = min(0.6 * width, max(room)) * (1 if room[1] >= room[0] else -1) or 0.3 * width
    yield "move", [{"move": object_name(layout, other.key), "by": [round(step * wide / layout.shape[1]), 0]}]
    own, others = (
        np.array([one.original.means.classes[road] for one in some if road in one.original.means.classes])
        for some in ([scene], scenes)
    )
    if len(own):
        unlike = others[((others - own) ** 2).sum(axis=1).argmax()]
        yield "restyle", [{"restyle": road, "to": [round(float(n), 4) for n in unlike]}]


def measured(scene: Scene, done: Retouched, kind: str, segmenter: PhotoSegmenter, car: str) -> dict[str, Any]:
    """The figures of one edit."""
    photograph = scene.original.photograph
    pasted = np.where(done.edited[..., None], resized(done.generated, scene.original.size), photograph)
    space = scene.original.layout.space
    ring = (
        done.touched & ~done.edited if kind != "restyle" else done.touched
    )  # no margin around what only looks otherwise
    row: dict[str, Any] = {
        "identical_outside": bool((done.picture == photograph)[~done.touched].all()),
        "touched": float(done.touched.mean()),
        "seam": percentile(done.picture, done.touched),
        "seam_photograph": percentile(photograph, done.touched),
        "seam_pasted": percentile(pasted, done.edited),
        "seam_pasted_photograph": percentile(photograph, done.edited),
        "ring": inside(done.picture, ring),
        "ring_photograph": inside(photograph, ring),
        "whole_photograph": inside(photograph, np.ones(scene.original.size, dtype=bool)),
    }
    if kind == "remove":
        where = done.edited
        before, after = (
            read_with(resized(picture, scene.original.layout.shape), segmenter) == space.index(car)
            for picture in (photograph, done.picture)
        )
        small = resized_map(where, scene.original.layout.shape).astype(bool)
        row |= {"car_before": float(before[small].mean()), "car_after": float(after[small].mean())}
    return row


def steps(picture: ByteArray) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """The largest channel's step to the right and to the lower neighbour."""
    values = picture.astype(np.int16)
    return np.abs(np.diff(values, axis=1)).max(-1), np.abs(np.diff(values, axis=0)).max(-1)


def percentile(picture: ByteArray, region: Bools) -> float:
    """The 95th percentile of the steps across the border of a region."""
    across, down = steps(picture)
    found = [across[region[:, 1:] != region[:, :-1]], down[region[1:] != region[:-1]]]
    return float(np.percentile(np.concatenate(found), 95))


def inside(picture: ByteArray, region: Bools) -> float:
    """The 95th percentile of the steps from or to the pixels of a region."""
    across, down = steps(picture)
    found = [across[region[:, 1:] | region[:, :-1]], down[region[1:] | region[:-1]]]
    return float(np.percentile(np.concatenate(found), 95))


def strip(scene: Scene, done: Retouched) -> list[ByteArray]:
    """Photograph, labels after, result, difference; each at least 360 pixels high."""
    photograph = scene.original.photograph
    labels = colourise(resized_map(done.layout.label, scene.original.size), done.layout.space)
    gap = np.abs(done.picture.astype(np.int16) - photograph)
    difference = np.clip(2 * gap, 0, 255).astype(np.uint8)
    times = max(1, 360 // photograph.shape[0])
    pictures = (photograph, labels, done.picture, difference)
    return [
        np.array(Image.fromarray(p).resize((p.shape[1] * times, p.shape[0] * times), Image.Resampling.NEAREST))
        for p in pictures
    ]


def report(rows: list[dict[str, Any]], scenes: list[Scene], console: Console) -> None:
    """A table of the edits, and the means."""
    shown = (
        "touched",
        "seam",
        "seam_photograph",
        "seam_pasted",
        "seam_pasted_photograph",
        "ring",
        "ring_photograph",
        "whole_photograph",
    )
    table = Table(
        "photograph", "edit", "outside", *(name.replace("_", " ") for name in shown), "car before", "car after", "s"
    )
    for row in rows:
        cars = [f"{row[name]:.0%}" if name in row else "" for name in ("car_before", "car_after")]
        numbers = [f"{row['touched']:.1%}", *(f"{row[name]:.0f}" for name in shown[1:])]
        table.add_row(
            row["photograph"],
            row["edit"],
            "same" if row["identical_outside"] else "DIFFERS",
            *numbers,
            *cars,
            f"{row['seconds']:.1f}",
        )
    console.print(table)
    for kind in ("remove", "move", "restyle"):
        if mine := [row for row in rows if row["edit"] == kind]:
            console.print(
                kind, {name: round(float(np.mean([row[name] for row in mine])), 3) for name in (*shown, "seconds")}
            )
    console.print(f"pixel accuracy of the layouts found: {np.mean([scene.agreement for scene in scenes]):.3f}")


if __name__ == "__main__":
    main()
