"""What `gesso ablate` notes of each slice of a training, in slices.jsonl of the run folder: with what, on what and when."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.cli.common import installed_versions, samples_digest
from gesso.errors import DataError

if TYPE_CHECKING:
    from gesso.data.training import TrainingData
    from gesso.evaluate.ablation_results import Stretch

FILE = "slices.jsonl"
PACKAGES = ("gesso", "torch", "lightning-fabric", "numpy", "pillow")  # that a training depends on


def digest_of(data: TrainingData) -> str:
    """Over the files that are learned from: their names, sizes and contents, and how they are read.

    Raises:
        DataError: A file is missing.
    """
    return samples_digest(getattr(data.training, "samples", ()), "training")


def note(run: Path, device: str, facts: dict[str, Any]) -> None:
    """Add a line for a slice that begins in this process.

    Args:
        run: The run folder.
        device: As `gesso train` takes it.
        facts: The other fields of a `Stretch`.

    Raises:
        TrainingError: The disk is full or refuses.
    """
    import torch

    from gesso.checkpoints import disk_errors
    from gesso.devices import choose_device
    from gesso.evaluate.ablation_results import Stretch

    chosen = choose_device(device)
    named = f"{chosen} ({torch.cuda.get_device_name(chosen)})" if chosen.startswith("cuda") else chosen
    began, threads = datetime.now(UTC).isoformat(timespec="milliseconds"), torch.get_num_threads()
    stretch = Stretch(began=began, threads=threads, device=named, versions=installed_versions(PACKAGES), **facts)
    with disk_errors(run / FILE):
        run.mkdir(parents=True, exist_ok=True)
        with (run / FILE).open("a", encoding="utf-8") as file:
            file.write(stretch.model_dump_json() + "\n")


def noted(run: Path) -> tuple[Stretch, ...]:
    """The slices of a run in their order; nothing of runs that `gesso ablate` did not train.

    Raises:
        DataError: The file holds something else.
    """
    from gesso.evaluate.ablation_results import Stretch

    path = run / FILE
    if not path.exists():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(Stretch.model_validate(json.loads(line)) for line in lines if line.strip())
    except ValueError:
        raise DataError(
            f"{path} is damaged, so that nobody knows how {run.name} was trained. Delete that run folder, which is trained anew "
            "then, or give another --out."
        ) from None
