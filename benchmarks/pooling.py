"""How fast features are averaged over instances, against loops over instances and channels.

Example: python benchmarks/pooling.py --size 1024x2048 --instances 100 --json figures.json
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from gesso.cli.common import parse_size
from gesso.errors import GessoError
from gesso.networks.pix2pixhd import pool_instances

TOLERANCE = 1e-4  # the loops sum in float32


def pooling(
    *,
    size: str = "1024x2048",
    instances: int = 100,
    channels: int = 3,
    rounds: int = 7,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure one forward of instance-wise average pooling, in turns with plain loops.

    Parameters
    ----------
    size: str
        HEIGHTxWIDTH of the map.
    instances: int
        Objects in it.
    channels: int
        Features of each pixel.
    rounds: int
        How often each is measured; medians are shown.
    json_file: Path
        Also write the figures to this file.
    """
    console = Console()
    height, width = parse_size(size)
    torch.manual_seed(0)
    features = torch.randn(1, channels, height, width)
    instance = cells(height, width, instances)
    found = int(instance.unique().numel())
    contestants: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "gesso": pool_instances,
        "loop over instances": loop_over_instances,
        "loop over instances and channels": loop_over_instances_and_channels,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    expected = pool_instances(features, instance)
    with torch.inference_mode():
        for _ in track(range(rounds), "measuring", console=console, transient=True):
            for name, pool in contestants.items():  # in turns, so that all suffer alike from what else runs
                began = time.perf_counter()
                result = pool(features, instance)
                times[name].append(time.perf_counter() - began)
                torch.testing.assert_close(result, expected, rtol=0, atol=TOLERANCE)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    title = f"{height}x{width}, {found} instances, {channels} channels, {torch.get_num_threads()} threads"
    table = Table("pooling", "median", "ratio", title=title)
    for name, median in medians.items():
        table.add_row(name, f"{median * 1e3:.1f} ms", f"{median / medians['gesso']:.1f}")
    console.print(table)
    if json_file:
        figures = {"size": [height, width], "instances": found, "channels": channels, "seconds": medians}
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def cells(height: int, width: int, instances: int) -> Tensor:
    """(1, H, W) ids of the nearest of so many random points: objects with ragged, slanting borders."""
    points = torch.rand(instances, 2) * torch.tensor([height, width])
    rows, columns = torch.arange(height).float(), torch.arange(width).float()
    nearest = [
        torch.cdist(torch.stack([torch.full_like(columns, row), columns], dim=1), points).argmin(dim=1) for row in rows
    ]
    return torch.stack(nearest).unsqueeze(0) * 1000 + 7


def loop_over_instances(features: Tensor, instance: Tensor) -> Tensor:
    """Object by object, all channels at once."""
    pooled = torch.empty_like(features)
    for key in instance.unique().tolist():
        mask = (instance == key).expand_as(features[:, 0])
        pooled.movedim(1, 0)[:, mask] = features.movedim(1, 0)[:, mask].mean(dim=1, keepdim=True)
    return pooled


def loop_over_instances_and_channels(features: Tensor, instance: Tensor) -> Tensor:
    """Object by object and channel by channel."""
    pooled = torch.empty_like(features)
    for key in instance.unique().tolist():
        mask = instance == key
        for channel in range(features.shape[1]):
            pooled[:, channel][mask] = features[:, channel][mask].mean()
    return pooled


if __name__ == "__main__":
    app = App(help_format="markdown")
    app.default(pooling)
    try:
        app()
    except GessoError as error:
        sys.exit(f"pooling: {error}")
