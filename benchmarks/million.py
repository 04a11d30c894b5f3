"""What a dataset of very many files costs before and between the steps: listing, digests, orders, folders of results.

Writes tiny label maps and photographs into a temporary folder (hard links to one of each, so that they need little room), takes
each cost at two counts, and says what it would be at a million: by its share that grows with the count. Seconds are those of the
processor, so that another program on the machine changes little; what a slow disk adds is not in them.

Example: python benchmarks/million.py --count 100000 --json figures.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import track
from rich.table import Table

MILLION = 1_000_000
MIB = 2**20
FEW = 10  # the smaller count is the larger one by this
LINKS = 50_000  # most hard links of one file; ext4 allows 65,000


def million(*, count: int = 100_000, json_file: Annotated[Path | None, Parameter(name="--json")] = None) -> None:
    """Measure the costs and extrapolate them.

    Parameters
    ----------
    count: int
        Samples of the larger dataset; two files each.
    json_file: Path
        Also write the figures to this file.
    """
    console = Console()
    found: dict[int, dict[str, Any]] = {}
    for number in (count // FEW, count):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), number, console)
            said = subprocess.run(
                [sys.executable, __file__, "child", folder], stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            found[number] = json.loads(said.splitlines()[-1])
    console.print(_table(found))
    if json_file:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def write(root: Path, count: int, console: Console) -> None:
    """A folder of the camvid convention: as many samples, all alike, and as many finished files in a folder of results."""
    import numpy as np
    from PIL import Image

    from gesso.data.spaces import published

    space = published("toy")
    space.save(root / "labels.json")
    pixels = {
        "labels": space.to_values(np.zeros((8, 16), int)).astype(np.uint8),
        "images": np.zeros((8, 16, 3), np.uint8),
    }
    for kind in (*pixels, "results"):
        folder = root / "results" if kind == "results" else root / "train" / kind
        folder.mkdir(parents=True)
        for number in track(range(count), f"writing {kind}", console=console, transient=True):
            path = folder / f"{number:07d}.png"
            if number % LINKS == 0:
                first = path
                Image.fromarray(pixels.get(kind, pixels["images"])).save(path)
            else:
                os.link(first, path)


class Costs:
    """CPU seconds, and MiB that stay or are needed for a while, of each thing that is done."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def of(self, name: str, times: int = 1) -> Iterator[None]:
        """Take the costs of what is done inside, for each of so many times."""
        began = time.process_time()
        yield
        self.found[name] = {"seconds": (time.process_time() - began) / times}

    def memory(self, name: str, do: Callable[[], object]) -> None:
        """Do it once more, slowly, for its memory."""
        tracemalloc.start()
        kept = do()
        stays, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.found[name] |= {"stays": stays / MIB, "peak": most / MIB}
        del kept


def child(root: Path) -> dict[str, Any]:
    """The costs of the dataset in a folder."""
    import numpy as np

    from gesso.batches import StepSampler
    from gesso.checkpoints import write_safely
    from gesso.cli.common import DataFlags, samples_digest
    from gesso.cli.generated import refuse_overwriting
    from gesso.cli.kept import is_finished
    from gesso.cli.style_flags import StyleFlags, plan_shots
    from gesso.cli.train import open_data
    from gesso.data import layouts
    from gesso.recipes import pix2pixhd as recipe

    costs, config = Costs(), recipe.PRESETS["pix2pixhd-small"]
    with costs.of("list the files (every command)"):
        listing = layouts.find(root, "train")
    count = len(listing.samples)
    costs.memory("list the files (every command)", lambda: layouts.find(root, "train"))
    data = open_data(recipe, config, root, DataFlags(), "train", "val")
    with costs.of("digest of names (train, at its start)"):
        data.facts()
    config = config.model_copy(update={"batch": 1, "accumulate": 1})
    order = iter(StepSampler(count, config, 0, count, 0, 1))
    with costs.of("order of a pass (train, each pass)"):
        next(order)
    costs.memory("order of a pass (train, each pass)", lambda: np.random.default_rng(0).permutation(count))
    with costs.of("read a sample, of 8x16 pixels", 200):
        for number in range(200):
            data.training[number]
    with costs.of("digest of contents (evaluate, features)"):
        samples_digest(listing.samples, "scale")
    flags, shots = StyleFlags(), plan_shots(StyleFlags(), 0)
    check = lambda: refuse_overwriting(root / "out", data.training, shots, flags, False)  # type: ignore[arg-type]  # noqa: E731
    with costs.of("compare names of results (generate)"):
        check()
    costs.memory("compare names of results (generate)", check)
    results = root / "results"
    with costs.of("see that a result is finished (generate, each)", 500):
        for number in range(500):
            is_finished(results / f"{number:07d}.png", "")
    with costs.of("write a result among them (generate, each)", 50):
        for number in range(50):
            write_safely(results / f"new{number}.png", _write)
    return {"count": count, "costs": costs.found}


def _write(path: Path) -> None:
    path.write_bytes(b"x" * 1000)


def _table(found: dict[int, dict[str, Any]]) -> Table:
    (few, before), (many, after) = found.items()
    table = Table()
    for name in ("what", f"s at {few:,}", f"s at {many:,}", "s at a million", "MiB for a while", "MiB at a million"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name, cost in after["costs"].items():
        seconds, less = cost["seconds"], before["costs"][name]["seconds"]
        growth = max(0.0, (seconds - less) / (many - few))
        cells = [f"{less:.4f}", f"{seconds:.4f}", f"{seconds + growth * (MILLION - many):.4g}"]
        memory = [f"{cost['peak']:.0f}", f"{cost['peak'] * MILLION / many:.0f}"] if "peak" in cost else ["", ""]
        table.add_row(name, *cells, *memory)
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(Path(sys.argv[2]))))
    else:
        app = App(help_format="markdown")
        app.default(million)
        app()
