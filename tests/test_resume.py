"""A training that was killed at any moment, or met a full disk, goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from gesso.checkpoints import load_model, states
from training_script import STEPS, Server, tiny_flags

SETTINGS = {"ema": 0.9}
LOSSES = ("G_gan", "G_features", "D_real", "D_fake", "lr_generator", "epoch")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


def command(data: Path, run: Path, **changes: Any) -> list[str]:
    return ["train", str(data), "--out", str(run), "--device", "cpu", *tiny_flags(**SETTINGS, **changes)]


@pytest.fixture(scope="module")
def uninterrupted(server: Server, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert server.run(command(tiny_dataset, run)) == 0, server.errors.read_text()
    return run


# ------------------------------------------------------------------------------------------------------------- kills


def kill_after_steps(server: Server, data: Path, run: Path, dice: random.Random) -> str:
    """Kill a few steps and some milliseconds on; with and without a process that loads data."""
    steps, extra, workers = dice.randint(0, 3), dice.uniform(0, 0.03), dice.randint(0, 1)
    wanted = len(logged(run)) + steps
    child = server.start(command(data, run, workers=workers))
    wait_until(lambda: len(logged(run)) >= wanted and (run / "config.json").exists())
    time.sleep(extra)
    return kill(server, child, f"at step {wanted} + {extra:.3f} s, {workers} workers")


def kill_during_save(server: Server, data: Path, run: Path, dice: random.Random) -> str:
    """Kill in the middle of writing config, state or model file: at one of the flushes to the disk."""
    number = dice.randint(1, 16)  # 2 for config.json; per save 6 for the state, 2 for the model file
    child = server.start(command(data, run), hang_at=number, marker=str(server.marker))
    wait_until(server.marker.exists)
    return kill(server, child, f"at flush {number}, of {server.marker.read_text()}")


def kill(server: Server, child: int, moment: str) -> str:
    os.kill(child, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL, f"the training was over before it could be killed {moment}"
    return moment


def wait_until(reached: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "the training to be killed does not get on"
        time.sleep(0.002)


def kill_often(server: Server, data: Path, run: Path, kinds: list[Any], seed: int) -> list[str]:
    """Kill a training so often, let it finish at last, and say when it was killed."""
    dice = random.Random(seed)
    moments = [one(server, data, run, dice) for one in kinds]
    print("killed", *moments, sep="\n  ")  # pytest shows it when the test fails
    assert server.run(command(data, run)) == 0, server.errors.read_text()
    return moments


def logged(run: Path) -> list[dict[str, Any]]:
    """Lines of the log with losses, as far as they are complete."""
    path = run / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text.split("\n")[:-1]]
    return [line for line in lines if "G_gan" in line]


def same_as(run: Path, uninterrupted: Path) -> None:
    """Every byte of the final state, every tensor of the model file, every line of the log."""
    ours, theirs = (states(folder / "state") for folder in (run, uninterrupted))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for file in sorted(theirs[-1].iterdir()):
        assert (ours[-1] / file.name).read_bytes() == file.read_bytes(), f"{file.name} differs"
    model, wanted = (load_file(folder / "model.safetensors") for folder in (run, uninterrupted))
    assert model.keys() == wanted.keys()
    assert all(model[key].numpy().tobytes() == wanted[key].numpy().tobytes() for key in wanted)
    assert [line["step"] for line in logged(run)] == list(range(1, STEPS + 1))
    assert [{k: line[k] for k in LOSSES} for line in logged(run)] == [
        {k: line[k] for k in LOSSES} for line in logged(uninterrupted)
    ]
    assert not [path for path in run.rglob(".*") if path.exists()], "something temporary is left"


@pytest.mark.long
def test_killed_at_five_moments(server: Server, tiny_dataset: Path, uninterrupted: Path, tmp_path: Path) -> None:
    kinds = [kill_after_steps, kill_during_save, kill_after_steps, kill_during_save, kill_after_steps]
    moments = kill_often(server, tiny_dataset, tmp_path / "run", kinds, seed=20)
    assert any("state" in moment for moment in moments), f"choose a seed that kills while a state is saved: {moments}"
    same_as(tmp_path / "run", uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_many_moments(
    server: Server, tiny_dataset: Path, uninterrupted: Path, tmp_path: Path, seed: int
) -> None:
    kinds = random.Random(seed).choices([kill_after_steps, kill_during_save], weights=[1, 4], k=5)
    kill_often(server, tiny_dataset, tmp_path / "run", kinds, seed)
    same_as(tmp_path / "run", uninterrupted)


@pytest.mark.long
def test_a_finished_run_stays_as_it_is(server: Server, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert server.run([*command(tiny_dataset, run), "--stop-at", "2"]) == 0
    before = load_model(run / "model.safetensors").hash
    lines = (run / "log.jsonl").read_text()
    assert server.run([*command(tiny_dataset, run), "--stop-at", "2"]) == 0
    assert load_model(run / "model.safetensors").hash == before
    assert (run / "log.jsonl").read_text() == lines


# --------------------------------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can only be mounted by root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk up to some bytes."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(b"x" * (free.f_bavail * free.f_bsize - leave))
    return filler


def contents(run: Path) -> dict[str, bytes]:
    """State and model file, byte by byte."""
    files = [run / "model.safetensors", *(run / "state").rglob("*")]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.long
@pytest.mark.parametrize("room", [0, 40_000])  # nothing at all can be written; the log can, the state only in part
def test_a_full_disk(server: Server, tiny_dataset: Path, small_disk: Path, uninterrupted: Path, room: int) -> None:
    run = small_disk / "run"
    assert server.run([*command(tiny_dataset, run, sample_every=1000), "--stop-at", "3"]) == 0
    saved = contents(run)
    filler = fill(small_disk, room)
    assert server.run(command(tiny_dataset, run)) == 1
    said = server.errors.read_text()
    assert said.startswith("gesso: ")
    assert said.count("\n") == 1
    assert str(run) in said
    assert "No space left" in said
    assert "make room" in said
    assert contents(run) == saved
    filler.unlink()
    assert server.run(command(tiny_dataset, run)) == 0, server.errors.read_text()
    same_as(run, uninterrupted)


def test_a_full_disk_while_generating(server: Server, tiny_model: Path, tiny_dataset: Path, small_disk: Path) -> None:
    out = small_disk / "out"
    out.mkdir()
    fill(small_disk, 12_000)  # for one picture, not for two
    assert server.run(["generate", str(tiny_model), str(tiny_dataset), "--out", str(out), "--device", "cpu"]) == 1
    said = server.errors.read_text()
    assert said.startswith(f"gesso: {out / 'scene1.png'} could not be written: ")
    assert said.count("\n") == 1
    assert "No space left" in said
    (whole,) = out.iterdir()
    with Image.open(whole) as picture:
        picture.load()


@pytest.mark.long
def test_a_disk_that_refuses_large_files(
    server: Server, tiny_dataset: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    run = tmp_path / "run"
    assert server.run([*command(tiny_dataset, run), "--stop-at", "3"]) == 0
    saved = contents(run)
    limit = (run / "model.safetensors").stat().st_size + 1
    assert server.run(command(tiny_dataset, run), largest_file=limit) == 1
    said = server.errors.read_text()
    assert "step-00000006 could not be written" in said
    assert "Traceback" not in said
    assert contents(run) == saved
    assert server.run(command(tiny_dataset, run)) == 0, server.errors.read_text()
    same_as(run, uninterrupted)
