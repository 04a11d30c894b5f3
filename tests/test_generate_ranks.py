"""Several processes generate as one does, whatever becomes of one of them; a rerun makes what is missing and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gesso.checkpoints import load_model, save_model
from gesso.data.spaces import published
from ranks_script import Ranks, srun_variables

COUNT = 7  # layouts; no number of processes here divides it


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    made = Ranks(tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()


@pytest.fixture
def maps(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Seven label maps, scene0.png to scene6.png."""
    return Path(shutil.copytree(tiny_dataset / "train" / "labels", tmp_path / "maps"))


def words(model: Path, maps: Path, out: Path, *more: object) -> list[object]:
    return ["generate", model, maps, "--out", out, "--device", "cpu", *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.png")}


@pytest.mark.long
def test_any_number_of_processes_writes_the_same_bytes(
    gesso: Any, ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path
) -> None:
    more = ("--colour", "--contact-sheet", "--seed", 3)
    assert gesso(*words(tiny_model, maps, tmp_path / "one", *more)).code == 0
    assert ranks.run(2, *words(tiny_model, maps, tmp_path / "two", *more, "--batch", 2)) == [0, 0]
    assert ranks.run(3, *words(tiny_model, maps, tmp_path / "slurm", *more), slurm=True) == [0, 0, 0]
    one = contents(tmp_path / "one")
    assert len(one) == 2 * COUNT + 1
    assert contents(tmp_path / "two") == one
    assert contents(tmp_path / "slurm") == one


def test_a_batch_script_without_srun_generates_alone(
    gesso: Any, tiny_model: Path, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables of a job that may have two tasks are there, but nobody started the second."""
    for name, value in {"NTASKS": 2, "NTASKS_PER_NODE": 2, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_ID": 5}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert gesso(*words(tiny_model, maps, tmp_path / "out")).code == 0
    assert len(contents(tmp_path / "out")) == COUNT


@pytest.mark.long
def test_unequal_machines_are_refused(ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    uneven = {name: str(value) for name, value in srun_variables(0, 3).items()} | {"SLURM_STEP_TASKS_PER_NODE": "2,1"}
    assert ranks.run(1, *words(tiny_model, maps, tmp_path / "out"), rank0={"environment": uneven}) == [1]
    assert "gesso: srun started 3 processes, 2,1 on the machines" in ranks.said(0)


def test_more_processes_than_layouts(ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    assert ranks.run(3, *words(tiny_model, maps, tmp_path / "out", "--limit", 2)) == [0, 0, 0]
    assert set(contents(tmp_path / "out")) == {"scene0.png", "scene1.png"}


@pytest.mark.long
def test_a_killed_rank_is_named_and_a_rerun_makes_the_rest(
    gesso: Any, ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path
) -> None:
    """Rank 1 dies while it writes scene3.png; rank 0 goes on to its own end, as under srun, and then says what is missing."""
    out = tmp_path / "out"
    marker = ranks.folder / "hanging1"
    marker.unlink(missing_ok=True)
    processes = ranks.start(2, *words(tiny_model, maps, out), rank1={"hang_at": 3})  # two flushes for each file
    wait_for(marker)
    assert "scene3.png" in marker.read_text()
    os.kill(processes[1], signal.SIGKILL)
    assert ranks.wait() == [1, -signal.SIGKILL]
    assert f"rank 1 of 2 (process {processes[1]} on " in ranks.said(0)
    assert "run the same command again" in ranks.said(0)
    finished = marks(out)
    assert set(finished) == {f"scene{n}.png" for n in (0, 1, 2, 4, 6)}
    for name in finished:
        with Image.open(out / name) as image:
            image.load()
    assert (out / ".scene3.png.partial").is_dir()

    assert ranks.run(3, *words(tiny_model, maps, out)) == [0, 0, 0]
    assert {name: mark for name, mark in marks(out).items() if name in finished} == finished
    assert gesso(*words(tiny_model, maps, tmp_path / "alone")).code == 0
    assert contents(out) == contents(tmp_path / "alone")  # and so nothing is left of the one that was killed
    again = gesso(*words(tiny_model, maps, out))
    assert f"7 photographs in {out}; 7 of them were there" in again.out


def wait_for(file: Path) -> None:
    limit = time.monotonic() + 60
    while not file.exists() or not file.read_bytes():
        assert time.monotonic() < limit, f"{file} did not come"
        time.sleep(0.02)


def test_the_death_of_the_first_rank_is_named_by_the_others(
    ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path
) -> None:
    marker = ranks.folder / "hanging0"
    marker.unlink(missing_ok=True)
    processes = ranks.start(2, *words(tiny_model, maps, tmp_path / "out"), rank0={"hang_at": 3})
    wait_for(marker)
    wait_for(tmp_path / "out" / "scene1.png")  # rank 1 has begun, too
    os.kill(processes[0], signal.SIGKILL)
    codes = ranks.wait()
    assert codes[0] == -signal.SIGKILL
    assert codes[1] in (0, 1)  # it may have been done before
    assert codes[1] == 0 or "rank 0 of 2, which keeps count, ended before rank 1 of 2" in ranks.said(1)
    assert {f"scene{n}.png" for n in (0, 1, 3, 5)} == {path.name for path in (tmp_path / "out").glob("*.png")}


def test_a_bad_layout_is_named_by_its_rank(ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    (maps / "scene3.png").write_text("no picture")
    assert ranks.run(2, *words(tiny_model, maps, tmp_path / "out")) == [1, 1]
    assert "gesso: rank 1 of 2: " in ranks.said(1)
    assert str(maps / "scene3.png") in ranks.said(1)
    assert "rank 1 of 2 failed" in ranks.said(0)
    assert set(contents(tmp_path / "out")) == {f"scene{n}.png" for n in (0, 1, 2, 4, 6)}
    shutil.copy(maps / "scene2.png", maps / "scene3.png")
    assert ranks.run(1, *words(tiny_model, maps, tmp_path / "out")) == [0]
    assert len(contents(tmp_path / "out")) == COUNT


def test_ranks_that_see_other_layouts_are_refused(ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(maps, tmp_path / "other"))
    (other / "scene6.png").unlink()
    given = [str(word) for word in words(tiny_model, other, tmp_path / "out")]
    assert ranks.run(2, *words(tiny_model, maps, tmp_path / "out"), rank1={"arguments": given}) == [1, 1]
    assert "rank 1 of 2: It sees other layouts or settings than rank 0" in ranks.said(1)


# ------------------------------------------------------------------------------------------------------- what is kept


def test_only_what_was_made_in_the_same_way_is_kept(gesso: Any, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(*more: object, model: Path = tiny_model) -> set[str]:
        """The photographs that this writes."""
        before = marks(out)
        assert gesso(*words(model, maps, out, *more)).code == 0
        return {name for name, mark in marks(out).items() if before.get(name) != mark}

    everything = {f"scene{n}.png" for n in range(COUNT)}
    assert run() == everything
    assert run() == set()
    assert run("--batch", 3) == set()
    assert run("--overwrite") == everything
    assert run("--seed", 5) == everything
    assert run("--seed", 5, "--original-size") == everything
    assert run("--seed", 5) == everything
    other = tmp_path / "other.safetensors"
    model = load_model(tiny_model)
    tensors = {n: {k: v + 0.01 for k, v in net.state_dict().items()} for n, net in model.networks.items()}
    save_model(other, tensors, model.info)
    assert run("--seed", 5, model=other) == everything
    assert run(model=other) == everything

    values = published("toy").to_values(np.full((32, 64), 2))
    Image.fromarray(values.astype(np.uint8)).save(maps / "scene4.png")
    whole = (out / "scene2.png").read_bytes()
    (out / "scene2.png").write_bytes(whole[:-20])
    (out / "scene5.png").write_bytes(b"")
    (out / "scene6.png").unlink()
    assert run(model=other) == {"scene2.png", "scene4.png", "scene5.png", "scene6.png"}
    assert (out / "scene2.png").read_bytes() == whole
    coloured = run("--colour", model=other)  # the photographs are there, the layouts are not
    assert coloured == {f"scene{n}-layout.png" for n in range(COUNT)}


def test_two_pictures_of_one_name_are_refused(gesso: Any, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    shutil.copy(maps / "scene0.png", maps / "scene0-layout.png")
    ended = gesso(*words(tiny_model, maps, tmp_path / "out", "--colour"))
    assert ended.code == 1
    assert "Two pictures would be" in ended.err and "scene0-layout.png" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_layout_of_the_name_of_the_contact_sheet(gesso: Any, tiny_model: Path, maps: Path, tmp_path: Path) -> None:
    (maps / "scene0.png").rename(maps / "contact-sheet.png")
    ended = gesso(*words(tiny_model, maps, tmp_path / "out", "--contact-sheet"))
    assert ended.code == 1
    assert "Two pictures would be" in ended.err and "contact-sheet.png" in ended.err
    assert not (tmp_path / "out").exists()
    assert gesso(*words(tiny_model, maps, tmp_path / "out")).code == 0
    assert (tmp_path / "out" / "contact-sheet.png").is_file()


@pytest.mark.parametrize("inside", ["out", "", "deep/out"])
def test_photographs_among_the_layouts_are_refused(
    gesso: Any, tiny_model: Path, maps: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    monkeypatch.chdir(maps)
    before = contents(maps)
    for given in (maps, Path()):  # by its name, and from inside
        ended = gesso(*words(tiny_model, given, maps / inside))
        assert ended.code == 1
        assert f"--out {maps / inside} lies in " in ended.err and "Give a folder outside" in ended.err
    assert contents(maps) == before


def test_photographs_beside_the_layouts_and_beside_a_single_one(
    gesso: Any, tiny_model: Path, maps: Path, tmp_path: Path
) -> None:
    for given, out in ((maps, tmp_path / "maps-out"), (maps / "scene0.png", maps / "out")):
        for _ in range(2):  # what the first run wrote is nothing to the second
            assert gesso(*words(tiny_model, given, out)).code == 0
    assert set(contents(tmp_path / "maps-out")) == {f"scene{n}.png" for n in range(COUNT)}
    assert set(contents(maps / "out")) == {"scene0.png"}


# ------------------------------------------------------------------------------------------------------ under torchrun


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_stops_all_and_the_survivor_says_why(
    ranks: Ranks, tiny_model: Path, maps: Path, tmp_path: Path, victim: int
) -> None:
    source = (maps / "scene0.png").read_bytes()
    for number in range(400):
        (maps / f"more{number:03d}.png").write_bytes(source)
    out, log = tmp_path / "out", tmp_path / "log.txt"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gesso"]
    command = [*launch, *(str(word) for word in words(tiny_model, maps, out))]
    with log.open("w") as said:
        started = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while len(list(out.glob("*.png"))) < 20:
        assert started.poll() is None, log.read_text()
        time.sleep(0.05)
    os.kill(of_rank(victim, started.pid), signal.SIGKILL)
    assert started.wait(120) != 0
    assert f"gesso: rank {victim} of 2 (process " in log.read_text()
    finished = marks(out)
    assert 20 <= len(finished) < 400 + COUNT
    assert subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0
    assert len(marks(out)) == 400 + COUNT
    assert {name: mark for name, mark in marks(out).items() if name in finished} == finished


def of_rank(rank: int, parent: int) -> int:
    """The number of the process that torchrun started as that rank."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in children:
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"no rank {rank} among {children}")
