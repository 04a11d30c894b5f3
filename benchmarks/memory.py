"""Memory of gesso at the published size beside a straightforward implementation, each in a process of its own.

Inference goes through a model file and `gesso.load`; training is one step of the recipe with Adam's moments in place, that is
the second one. Peaks are those of the whole process: Python, PyTorch, weights and all else.

Example: python benchmarks/memory.py --size 1024x2048 --json figures.json
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

if sys.argv[1:2] != ["child"]:  # what is measured imports nothing that it does not need
    from cyclopts import App, Parameter

GIB = 2**30
CHANNELS = 36  # 35 classes of Cityscapes and the instance boundary


def peak() -> int:
    """Bytes that this process has occupied at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ------------------------------------------------------------------------------------------- children; they import torch


def write_model(folder: Path, size: tuple[int, int]) -> dict[str, Any]:
    """The published generator with random weights."""
    import torch

    from gesso.checkpoints import ModelInfo, NetworkDescription, save_model
    from gesso.data.spaces import published
    from gesso.labels import Semantics
    from gesso.networks.pix2pixhd import CoarseToFineGenerator, initialise

    torch.manual_seed(0)
    arguments = {"in_channels": CHANNELS}
    info = ModelInfo(
        recipe="pix2pixhd",
        networks={"generator": NetworkDescription(name="pix2pixhd.CoarseToFineGenerator", arguments=arguments)},
        label_space=published("cityscapes"),
        semantics=Semantics(classes=CHANNELS - 1, boundary=True),
        preprocessing={},
    )
    save_model(folder / "model.safetensors", {"generator": initialise(CoarseToFineGenerator(**arguments))}, info)
    return {}


def layout(size: tuple[int, int]) -> tuple[Any, Any]:
    """Patches of 64x64, each an instance."""
    import numpy as np

    rows, columns = (-(-n // 64) for n in size)
    instance = np.arange(rows * columns).reshape(rows, columns).repeat(64, axis=0).repeat(64, axis=1)
    instance = instance[: size[0], : size[1]]
    return instance % (CHANNELS - 1), instance


def inference(folder: Path, size: tuple[int, int]) -> dict[str, Any]:
    """gesso: load the model file, render one layout."""
    import numpy as np

    import gesso
    from gesso.devices import forward_memory

    synthesise = gesso.load(folder / "model.safetensors", device="cpu")
    label, instance = layout(size)
    before, began = peak(), time.perf_counter()
    picture = synthesise(label, instance)
    found = {"seconds": time.perf_counter() - began, "peak": peak()}
    np.save(folder / "gesso.npy", picture)
    return {**found, "estimate": before + forward_memory(synthesise._generator, [(1, CHANNELS, *size)])}


def plain_inference(folder: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Straightforward: fill a network from the same file, compute without gradients."""
    import numpy as np
    import torch
    from reference import pix2pixhd as eager
    from safetensors.torch import load_file

    from gesso.labels import Semantics
    from gesso.networks.pix2pixhd import CoarseToFineGenerator

    with torch.device("meta"):
        names = [f"generator.{name}" for name, _ in CoarseToFineGenerator(in_channels=CHANNELS).named_parameters()]
    generator = eager.LocalGenerator(CHANNELS).eval()
    tensors = load_file(folder / "model.safetensors")
    eager.fill(generator, [tensors[name] for name in names])
    del tensors
    label, instance = (torch.from_numpy(part).unsqueeze(0) for part in layout(size))
    began = time.perf_counter()
    with torch.no_grad():
        semantics = Semantics(classes=CHANNELS - 1, boundary=True).encode({"label": label, "instance": instance})
        picture = ((generator(semantics)[0] + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    found = {"seconds": time.perf_counter() - began, "peak": peak()}
    np.save(folder / "plain.npy", picture)
    return found


def training(folder: Path, size: tuple[int, int], steps: int = 2) -> dict[str, Any]:
    """gesso: the recipe's step at full width with activations computed again."""
    import torch
    from lightning_fabric import Fabric

    from gesso.estimates import estimate
    from gesso.labels import Semantics
    from gesso.networks.frugal import checkpoint_activations
    from gesso.recipes import pix2pixhd as recipe

    torch.manual_seed(0)
    semantics = Semantics(classes=CHANNELS - 1, boundary=True)
    settings = {"generator_width": 32, "enhancers": 1, "discriminator_scales": 3, "checkpoint_activations": True}
    config, fabric = recipe.Config(**settings), Fabric(accelerator="cpu", devices=1)
    players = recipe.build(config, semantics)
    for network in players.trained.values():
        checkpoint_activations(network)
    optimizers = recipe.optimizers(config, players)
    players.trained = {name: fabric.setup_module(network) for name, network in players.trained.items()}
    label, instance = (torch.from_numpy(part).unsqueeze(0) for part in layout(size))
    batch = {"label": label, "instance": instance, "image": torch.rand(1, 3, *size) * 2 - 1}
    batch["semantics"] = semantics.encode(batch)
    for _ in range(steps):
        began = time.perf_counter()
        recipe.train_step(config, players, optimizers, [batch], fabric)
    found = {"seconds": time.perf_counter() - began, "peak": peak()}
    return {**found, "estimate": estimate(recipe, config, semantics, size, measure=False).memory}


def plain_training(folder: Path, size: tuple[int, int], steps: int = 2) -> dict[str, Any]:
    """Straightforward: all losses from one graph, everything kept."""
    import torch
    from reference import pix2pixhd as eager
    from reference import steps as straightforward

    from gesso.devices import Meter
    from gesso.estimates import RUNTIME
    from gesso.labels import Semantics

    torch.manual_seed(0)
    networks = eager.LocalGenerator(CHANNELS), eager.Discriminator(CHANNELS + 3)
    adams = [torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in networks]
    label, instance = (torch.from_numpy(part).unsqueeze(0) for part in layout(size))
    semantics = Semantics(classes=CHANNELS - 1, boundary=True).encode({"label": label, "instance": instance})
    image = torch.rand(1, 3, *size) * 2 - 1
    for _ in range(steps):
        began = time.perf_counter()
        straightforward.pix2pixhd(*networks, adams, semantics, image)
    found = {"seconds": time.perf_counter() - began, "peak": peak()}
    with torch.device("meta"):
        rehearsed = eager.LocalGenerator(CHANNELS), eager.Discriminator(CHANNELS + 3)
        weights = [p for network in rehearsed for p in network.parameters()]
        with Meter(weights) as meter:
            without_moments = [torch.optim.SGD(network.parameters()) for network in rehearsed]
            straightforward.pix2pixhd(
                *rehearsed, without_moments, torch.empty(1, CHANNELS, *size), torch.empty(1, 3, *size)
            )
    return {**found, "estimate": RUNTIME + 3 * sum(p.nbytes for p in weights) + meter.peak}


Child = Callable[[Path, tuple[int, int]], dict[str, Any]]
CHILDREN: dict[str, Child] = {
    child.__name__: child for child in (write_model, inference, plain_inference, training, plain_training)
}


# -------------------------------------------------------------------------------------------------- parent; it does not


def memory(
    *,
    size: str = "1024x2048",
    plain_size: str | None = None,
    inference: bool = True,
    training: bool = True,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure peaks of inference and of a training step, gesso's and a straightforward implementation's.

    Parameters
    ----------
    size: str
        HEIGHTxWIDTH; multiples of 32.
    plain_size: str
        The same for the straightforward training step, where it would not fit at the whole size; gesso's is then measured at
        both.
    inference: bool
        Whether to measure inference.
    training: bool
        Whether to measure training; minutes per step on CPUs.
    json_file: Path
        Also write the figures to this file.
    """
    from rich.console import Console
    from rich.table import Table

    console, rows = Console(), []
    whole, part = (tuple(map(int, text.split("x"))) for text in (size, plain_size or size))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def measure(child: str, at: tuple[int, ...]) -> None:
            with console.status(f"{child.replace('_', ' ')} at {at[0]}x{at[1]} ..."):
                rows.append({"what": child, "size": at, **in_a_process(child, folder, at)})

        if inference:
            in_a_process("write_model", folder, whole)
            measure("inference", whole)
            measure("plain_inference", whole)
        if training:
            for at in dict.fromkeys((whole, part)):
                measure("training", at)
            measure("plain_training", part)
        gap = difference(folder) if inference else None
    table = Table("what", "size", "peak", "estimate", "seconds", title="peak memory of the whole process")
    for row in rows:
        guess = (
            f"{row['estimate'] / GIB:.2f} GiB ({row['estimate'] / row['peak'] - 1:+.0%})" if "estimate" in row else ""
        )
        peak_shown = f"{row['peak'] / GIB:.2f} GiB"
        table.add_row(
            row["what"].replace("_", " "), "x".join(map(str, row["size"])), peak_shown, guess, f"{row['seconds']:.0f}"
        )
    console.print(table)
    if gap is not None:
        console.print(f"The two pictures differ by at most {gap} of 255.")
    if json_file:
        json_file.write_text(json.dumps({"figures": rows, "difference": gap}, indent=1) + "\n", encoding="utf-8")


def in_a_process(child: str, folder: Path, size: tuple[int, ...]) -> dict[str, Any]:
    """What a child finds, alone in a fresh process."""
    command = [sys.executable, __file__, "child", child, str(folder), "x".join(map(str, size))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"memory: {child} at {size} ended with code {done.returncode} (-9: killed for lack of memory)")
    return json.loads(done.stdout.splitlines()[-1])


def difference(folder: Path) -> int:
    """The largest difference between the two pictures."""
    import numpy as np

    ours, plain = (np.load(folder / f"{name}.npy").astype(int) for name in ("gesso", "plain"))
    return int(abs(ours - plain).max())


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        _, _, child_name, child_folder, child_size = sys.argv
        height, width = map(int, child_size.split("x"))
        print(json.dumps(CHILDREN[child_name](Path(child_folder), (height, width))))
    else:
        app = App(help_format="markdown")
        app.default(memory)
        app()
