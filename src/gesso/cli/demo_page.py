"""The page at the end of `gesso demo --train`, one HTML file with everything inside; and what that of `gesso demo` shares."""

from __future__ import annotations

import base64
import html
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from rich.console import Console

from gesso.cli.common import DataFlags, track

if TYPE_CHECKING:
    from gesso.labels import LabelSpace
    from gesso.synthesis.synthesizer import Synthesizer

PLOT = (360, 150)
COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706", "#475569")
PLOTS = {
    "Generator": ("G_gan", "G_features", "G_vgg", "G_l1"),
    "Discriminator": ("D_real", "D_fake"),
    "Mean absolute difference to the real photographs (0 to 1)": ("train_l1", "val_l1"),
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; background: #fafaf9 }
body { margin: 0 auto; max-width: 900px; padding: 2rem 1rem }
h1 { margin: 0 }
h2 { margin-top: 2.5rem }
figure { margin: 0 }
img { width: 100%; display: block; border-radius: 4px }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; margin-bottom: 8px }
.four { grid-template-columns: repeat(4, 1fr) }
h3 { font-size: 15px; margin: 1rem 0 .3rem }
.head { font-weight: 600 }
.plots { display: flex; flex-wrap: wrap; gap: 1rem }
.plots figure { background: #fff; padding: .75rem; border-radius: 6px; max-width: 100%; box-sizing: border-box }
figcaption, .legend { font-size: 13px; color: #4b5563 }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 .9em; vertical-align: -1px }
pre { background: #1f2937; color: #f9fafb; padding: 1rem; border-radius: 6px; overflow: auto }
"""


def write_page(out: Path, synth: Synthesizer, count: int, console: Console) -> Path:
    """Render held-out layouts with the trained model and write OUT/index.html.

    Args:
        out: Folder of the demo, with scenes/ and run/.
        synth: The model of the run.
        count: How many layouts are shown.
        console: Where progress is shown.
    """
    rows = held_out_rows(synth, out / "scenes", out / "photographs", count, 0, console)
    log = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    path = out / "index.html"
    path.write_text(_page(rows, log, synth.label_space, synth.info.step, out), encoding="utf-8")
    return path


def held_out_rows(
    synth: Synthesizer, data: Path, folder: Path, count: int, seed: int, console: Console
) -> list[list[Any]]:
    """Layout, photograph in a random style and real photograph of the first held-out layouts; the photographs as files too."""
    from gesso.cli.generate import open_layouts
    from gesso.cli.generated import real_of
    from gesso.pictures import layout_picture
    from gesso.synthesis.synthesizer import save_png

    layouts = open_layouts(synth, data, DataFlags(), "val", count, original_size=False)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in track(range(len(layouts)), "generating", len(layouts), console):
        item = layouts[number]
        made = synth(item["label"].numpy(), item["instance"].numpy(), seed=seed + number)
        save_png(folder / f"{item['name']}.png", made, synth.record(seed + number))
        rows.append([layout_picture(item, synth.label_space), made, *real_of(item)])
    return rows


def _page(rows: Sequence[Sequence[Any]], log: list[dict[str, float]], space: Any, step: int, out: Path) -> str:
    lines = [line for line in log if "images_per_second" in line]
    speed = f"{lines[-1]['images_per_second']:.1f} images per second" if lines else ""
    plots = "".join(_plot(title, {n: _series(log, n) for n in names}) for title, names in PLOTS.items())
    history = "".join(
        f"<figure><figcaption>step {int(sheet.stem.split('-')[1])}</figcaption>{image(Image.open(sheet))}</figure>"
        for sheet in _spread(sorted((out / "run" / "samples").glob("val-*.png")), 3)
    )
    model, scenes = (shlex.quote(str(out / part)) for part in ("run/model.safetensors", "scenes"))
    body = f"""
<p>A pix2pixHD generator trained on toy street scenes for {step} steps, {speed}. Below: layouts that it never saw, the
photographs it makes of them, and the scenes' own pictures.</p>
{grid(rows)}{legend(space)}
<h2>Losses</h2><div class="plots">{plots}</div>
<h2>How it learned</h2><div class="plots">{history}</div>"""
    commands = [
        f"gesso generate {model} {scenes} --split val --out photographs --contact-sheet",
        f"gesso info {model}",
        "gesso doctor YOUR-DATA",
        "gesso train YOUR-DATA --out my-run",
    ]
    return document(body, commands)


def document(body: str, commands: Sequence[str]) -> str:
    """A whole page: what it shows, and commands to go on with."""
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>gesso demo</title><style>{STYLE}</style>
<h1>gesso demo</h1>
{body}
<h2>Go on</h2>
<pre>{html.escape(chr(10).join(commands), quote=False)}</pre></html>
"""


def grid(rows: Sequence[Sequence[Any]]) -> str:
    """Rows of layout, generated and real pictures."""
    head = '<div class="row head"><span>layout</span><span>generated</span><span>real (toy)</span></div>'
    return head + "".join(f'<div class="row">{"".join(image(p) for p in row)}</div>' for row in rows)


def legend(space: LabelSpace | None) -> str:
    """The colours of the classes."""
    assert space is not None
    shown = "".join(
        f'<span class="swatch" style="background:rgb{c.colour}"></span>{html.escape(c.name)}' for c in space.classes
    )
    return f'<p class="legend">{shown}</p>'


def image(picture: Any, alt: str = "") -> str:
    """A picture inside the page."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG")
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _series(log: list[dict[str, float]], name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in log if name in line]


def _spread(items: Sequence[Path], count: int) -> list[Path]:
    """First, last and evenly between."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _plot(title: str, series: Mapping[str, list[tuple[float, float]]]) -> str:
    """Curves over steps as SVG, from zero to the largest value."""
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return ""
    width, height = PLOT
    last = max(x for points in drawn.values() for x, _ in points) or 1
    top = max(y for points in drawn.values() for _, y in points) or 1
    curves, legend = "", ""
    for colour, (name, points) in zip(COLOURS, drawn.items(), strict=False):
        path = " ".join(f"{x / last * width:.1f},{height - y / top * height:.1f}" for x, y in points)
        curves += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        legend += f'<span class="swatch" style="background:{colour}"></span>{name} {points[-1][1]:.3f}'
    return (
        f"<figure><figcaption>{html.escape(title)} (top {top:.2f}, right step {last:.0f})</figcaption>"
        f'<svg width="{width}" height="{height}" viewBox="-2 -2 {width + 4} {height + 4}">'
        f'<path d="M0 0V{height}H{width}" fill="none" stroke="#d1d5db"/>{curves}</svg><div class="legend">{legend}</div></figure>'
    )
