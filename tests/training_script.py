"""Tiny trainings, and two ways to run them in processes of their own: to be killed, and two at once.

`python training_script.py serve` keeps everything imported and forks one training per line of JSON that it reads: a training to
be killed starts at once. `torchrun training_script.py together DATA OUT` trains `TOGETHER` with all processes in float64.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gesso import checkpoints, train
from gesso.cli import main
from gesso.cli.common import DataFlags
from gesso.cli.train import open_data
from gesso.recipes import pix2pixhd
from gesso.session import Session
from gesso.train import Result, TrainingData, fit

TINY: dict[str, Any] = {
    "resize": "fixed",
    "height": 32,
    "width": 64,
    "generator_width": 4,
    "generator_downs": 2,
    "generator_blocks": 1,
    "discriminator_width": 4,
    "discriminator_layers": 1,
    "batch": 2,
    "epochs": 4,
    "epochs_decay": 4,
    "save_every": 3,
    "log_every": 1,
    "workers": 0,
}
STEPS = 28  # of TINY on the 7 samples of tiny_dataset

TOGETHER: dict[str, dict[str, Any]] = {  # what two processes must do as one does; 7 samples never fill the last batch
    "plain": {"batch": 4, "ema": 0.9},
    "parts": {"batch": 4, "accumulate": 2},
}
TOGETHER_STEPS = 10
SPADE_TOGETHER: dict[str, Any] = {  # one picture in each process, of which the coarsest grid is one pixel
    "crop": (32, 32),
    "generator_width": 2,
    "hidden": 4,
    "discriminator_width": 4,
    "discriminator_layers": 2,
    "norm": "sync_batch",
    "batch": 2,
    "ema": 0.9,
    "sample_every": 2,
    "save_every": 2,
    "log_every": 1,
    "workers": 0,
    "stop_at": 4,
}


def tiny_config(**changes: Any) -> pix2pixhd.Config:
    return pix2pixhd.Config.model_validate({**TINY, **changes})


def tiny_flags(**changes: Any) -> list[str]:
    """TINY as flags of `gesso train`."""
    return as_flags({**TINY, **changes})


def as_flags(settings: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for key, value in settings.items():
        words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def tiny_data(root: Path, config: pix2pixhd.Config) -> TrainingData:
    return open_data(pix2pixhd, config, root, DataFlags(), "train", "val")


def fit_tiny(root: Path, run: Path, stop_at: int | None = None, **changes: Any) -> Result:
    config = tiny_config(**changes)
    return fit(pix2pixhd, config, tiny_data(root, config), run, device="cpu", stop_at=stop_at)


# ----------------------------------------------------------------------------------- trainings that can be killed


def serve() -> None:
    """For each line {"arguments": [...], "errors": PATH, ...}: fork, print the child's number, later how it ended."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(attempt(order))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def attempt(order: dict[str, Any]) -> int:
    """Run one command of gesso; hang at the asked-for flush, or meet a limit of the size of files."""
    with open(order["errors"], "w") as errors, open(os.devnull, "w") as nowhere:
        os.dup2(errors.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
    if order.get("hang_at"):
        hang(order["hang_at"], Path(order["marker"]))
    if order.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], order["largest_file"]))
    try:
        main(order["arguments"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def hang(number: int, marker: Path) -> None:
    """Stop for good at the so-manieth flush to the disk, which is in the middle of a save, and say so by a file."""
    flush, calls = checkpoints._flush, iter(range(1, number + 1))

    def slow(path: Path) -> None:
        if next(calls) == number:
            marker.write_text(str(path))
            time.sleep(600)
        flush(path)

    checkpoints._flush = slow


class Server:
    """The other end of `serve`."""

    def __init__(self, folder: Path) -> None:
        self.errors = folder / "errors.txt"
        self.marker = folder / "hanging"
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def start(self, arguments: list[str], **order: Any) -> int:
        """Begin a command of gesso; the number of its process."""
        self.marker.unlink(missing_ok=True)
        places = {"errors": str(self.errors), "marker": str(self.marker)}
        return int(self._say({"arguments": arguments, **places, **order}))

    def _say(self, order: dict[str, Any]) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def wait(self) -> int:
        """How the command that was begun last ended: its exit code, or minus the signal that killed it."""
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def run(self, arguments: list[str], **order: Any) -> int:
        self.start(arguments, **order)
        return self.wait()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


# --------------------------------------------------------------------------------------- several processes at once


def together(data: Path, out: Path) -> None:
    """SPADE by the command line, as the first thing; then every scenario in float64, where each rank writes its last weights."""
    preset = ["--preset", "spade-ade20k", "--no-vgg", "--device", "cpu", "--resize", "none"]
    try:
        main(["train", str(data), "--out", str(out / "spade"), *preset, *as_flags(SPADE_TOGETHER)])
    except SystemExit as end:
        assert not end.code, "gesso has said why"
    torch.set_default_dtype(torch.float64)
    rank = os.environ["RANK"]
    for name, changes in TOGETHER.items():
        save_file(final_weights(data, out / name, **changes), out / f"{name}-{rank}.safetensors")
    fit_tiny(data, out / "batch-norm", stop_at=4, batch=4, norm="batch", sample_every=2)


def final_weights(data: Path, run: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Weights of all trained networks of this very process after a training that is stopped half-way and gone on with."""
    fit_tiny(data, run, stop_at=TOGETHER_STEPS // 2, **changes)
    sessions: list[Session] = []
    to_device = train.to_device

    def keep(session: Session) -> None:
        sessions.append(session)
        to_device(session)

    train.to_device = keep  # type: ignore[assignment]
    try:
        fit_tiny(data, run, stop_at=TOGETHER_STEPS, **changes)
    finally:
        train.to_device = to_device
    return {
        f"{name}.{key}": value.contiguous()
        for name, network in sessions[0].players.trained.items()
        for key, value in network.state_dict().items()
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        together(Path(sys.argv[2]), Path(sys.argv[3]))
