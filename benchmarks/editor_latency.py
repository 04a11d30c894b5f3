"""How long is it from pointer-up to pixels in the editor, and where does the time go? Strokes in a real Chromium.

    python benchmarks/editor_latency.py MODEL [--sizes 128x256,256x512] [--strokes 100]     a model file of toy classes
    python benchmarks/editor_latency.py --full-size [--sizes 512x1024] [--strokes 20]       pix2pixHD's 512p generator, random

Server and browser share this machine. Each stroke is painted with a brush by the mouse; the next begins when the full photograph
of the one before is on the screen. Times are those that the page's own corner shows ("Times"), beside those of previews: how many
came per second while a long stroke was drawn. --json FILE keeps the figures as well.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter
from editor_process import served
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from gesso.checkpoints import save_model
from gesso.cli.common import parse_size
from gesso.data import toy
from gesso.data.spaces import published
from gesso.editor.opening import document_of
from gesso.editor.projects import save
from gesso.editor.rendering import Renderer
from gesso.labels import Semantics
from gesso.model_info import ModelInfo, NetworkDescription
from gesso.networks import pix2pixhd
from gesso.synthesis.synthesizer import load

PARTS = ("prepare", "network", "wait", "decode", "model", "encode", "paint", "total", "nearly")
WHOLE = "() => { const { picture, document } = window.gesso; return picture?.document === document && picture.whole; }"
# From letting go to a nearly right photograph, where one came before the exact one.
NEARLY = """() => {
    window.nearly = null;
    window.gesso.on("picture", () => {
        const { off, began } = window.gesso.picture;
        if (typeof off === "number") window.nearly ??= performance.now() - began;
    });
}"""
COUNT = """() => {
    window.seen = 0;
    window.gesso.on("picture", () => { window.seen += 1; });
    window.began = performance.now();
}"""
ASK = 50  # ms between questions whether the photograph is there, which cost the browser time as well
WIDTH = 130  # columns of the table, wherever it goes: a terminal's or a file's own would cut figures
# Times of the photograph that was shown last. Those that a fast model shows in full during the stroke are not what is asked.
LAST = """() => new Promise(answer => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => {
    answer(document.getElementById("latency").times.at(-1) ?? null);
}))))"""
WARM_UP = 3  # strokes
DURING = 3.0  # seconds of the long stroke
app = App(help=__doc__)


@app.default
def main(
    model: Path | None = None,
    *,
    full_size: bool = False,
    sizes: str = "",
    strokes: int = 100,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure.

    Args:
        model: A model file of toy classes.
        full_size: Take the published 512p generator with random weights instead.
        sizes: HEIGHTxWIDTH, separated by commas.
        strokes: Per size.
        json_file: Where the figures go as well.
    """
    console = Console(width=WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        file = random_model(Path(folder)) if full_size or model is None else model
        found = [
            measure(file, parse_size(size), strokes, console)
            for size in (sizes or ("512x1024" if full_size else "128x256,256x512")).split(",")
        ]
    console.print(table_of(found, strokes))
    for figures in found:
        if figures["shown"]:
            console.print(
                f"{figures['size']}: {figures['shown']} strokes ended as their last preview had shown them already"
            )
    if json_file:
        json_file.write_text(json.dumps(found, indent=1))


def table_of(found: list[dict[str, Any]], strokes: int) -> Table:
    """What `measure` found, size by size."""
    table = Table("size", "", *PARTS, "previews/s", title=f"milliseconds of {strokes} strokes, {os.cpu_count()} cores")
    for figures in found:
        for name in ("p50", "p95"):
            row = [f"{figures[name].get(part, float('nan')):.1f}" for part in PARTS]
            size, previews = (figures["size"], f"{figures['previews']:.1f}") if name == "p50" else ("", "")
            table.add_row(size, name, *row, previews)
    return table


def random_model(folder: Path) -> Path:
    """The generator of pix2pixHD's 512p model, untrained, for the classes of the toy world."""
    space = published("toy")
    semantics = Semantics(classes=len(space), boundary=True)
    arguments = {"in_channels": semantics.channels, "width": 64, "downs": 4, "blocks": 9}
    info = ModelInfo(
        recipe="pix2pixhd",
        networks={"generator": NetworkDescription(name="pix2pixhd.GlobalGenerator", arguments=arguments)},
        label_space=space,
        semantics=semantics,
        preprocessing={"resize": "fixed", "height": 512, "width": 1024},
    )
    path = folder / "random.safetensors"
    save_model(path, {"generator": pix2pixhd.initialise(pix2pixhd.GlobalGenerator(**arguments))}, info)
    return path


def measure(model: Path, size: tuple[int, int], strokes: int, console: Console) -> dict[str, Any]:
    """Times of strokes on a toy scene of a size."""
    with page_of(model, size) as page, console.status(f"{size[0]}x{size[1]}") as status:
        page.wait_for_function("() => !window.gesso.empty", timeout=120_000)
        page.wait_for_function(WHOLE, timeout=120_000, polling=ASK)
        box = page.locator("#panes canvas").first.bounding_box()
        assert box is not None
        random = np.random.default_rng(0)
        page.keyboard.press("b")
        page.evaluate(NEARLY)
        times = []
        for number in range(strokes + WARM_UP):
            page.evaluate("document.getElementById('latency').times.length = 0; window.nearly = null")
            stroke(page, box, random)
            page.wait_for_function(WHOLE, timeout=120_000, polling=ASK)
            last = page.evaluate(LAST)
            if number >= WARM_UP and last:
                nearly = page.evaluate("window.nearly")
                times.append(last if nearly is None else {**last, "nearly": nearly})
            page.wait_for_timeout(50)
            status.update(f"{size[0]}x{size[1]}: {number + 1} strokes")
        previews = long_stroke(page, box)
    known = {part: [one[part] for one in times if part in one] for part in PARTS}
    shares = {
        name: {part: float(np.percentile(values, share)) for part, values in known.items() if values}
        for name, share in (("p50", 50), ("p95", 95))
    }
    shown = sum(not one["model"] for one in times)
    return {"size": f"{size[0]}x{size[1]}", "strokes": len(times), "shown": shown, **shares, "previews": previews}


def stroke(page: Page, box: Any, random: np.random.Generator) -> None:
    """A short one, of a material of its own."""
    x, y = random.uniform(0.3, 0.6, 2)
    page.keyboard.press(str(random.integers(1, 7)))
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + (x + 0.05) * box["width"], box["y"] + (y + 0.03) * box["height"], steps=5)
    page.mouse.up()


def long_stroke(page: Page, box: Any) -> float:
    """Pictures per second while a stroke is drawn."""
    page.evaluate(COUNT)
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    steps = int(DURING * 30)
    for step in range(steps):
        page.mouse.move(box["x"] + (0.3 + 0.4 * step / steps) * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_timeout(1000 / 30)
    found = page.evaluate("window.seen / (performance.now() - window.began) * 1000")
    page.mouse.up()
    return float(found)


@contextmanager
def page_of(model: Path, size: tuple[int, int]) -> Iterator[Page]:
    """The editor, a process of its own, in a browser, with a toy scene to start from."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    scene = toy.scene(0, 0, *size)
    with tempfile.TemporaryDirectory() as folder:
        renderer = Renderer(load(model, "cpu"))
        project = Path(folder) / "scene.zip"
        project.write_bytes(save(renderer, document_of(scene.label, scene.instance, renderer.space, "scene")))
        with served(model, "--project", project) as (address, _, _), sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
            page = chromium.new_page(viewport={"width": 1280, "height": 720})
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            yield page
            chromium.close()


if __name__ == "__main__":
    app()
