"""srun's words are taken for torchrun's where it started several tasks, and nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gesso.errors import ConfigError
from gesso.launch import read_srun
from gesso.train import make_fabric
from ranks_script import Ranks, srun_variables
from training_script import tiny_flags


def srun(**changes: Any) -> dict[str, str]:
    """Variables of the fourth of six tasks on two machines."""
    told = srun_variables(3, 6) | {"SLURM_LOCALID": 0, "SLURM_NODEID": 1, "SLURM_STEP_TASKS_PER_NODE": "3(x2)"}
    told |= {"SLURM_STEP_NODELIST": "node[08-09]", **changes}
    return {name: str(value) for name, value in told.items() if value is not None}


def test_what_torchrun_would_say() -> None:
    told = srun()
    before = dict(told)
    read_srun(told)
    assert {name: value for name, value in told.items() if name not in before} == {
        "RANK": "3",
        "LOCAL_RANK": "0",
        "GROUP_RANK": "1",
        "NODE_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "3",
        "MASTER_ADDR": "node08",
        "MASTER_PORT": str(15000 + 4711 * 7 % 15000 + 1),
    }
    after = dict(told)
    read_srun(told)
    assert told == after


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("a1,a2", "a1"),
        ("host[1-4,7]", "host1"),
        ("gpu-[007,9]-ib,cpu[1-2]", "gpu-007-ib"),
        ("r[1-2]n[3-4].example", "r1n3.example"),
        ("login,node[1-2]", "login"),
    ],
)
def test_the_first_host(hosts: str, first: str) -> None:
    told = srun(SLURM_STEP_NODELIST=hosts)
    read_srun(told)
    assert told["MASTER_ADDR"] == first


def test_the_meeting_place() -> None:
    """One's own wish stays; the job's list stands in for the step's; one machine needs no name; steps have their own ports."""
    given = srun(MASTER_ADDR="here", MASTER_PORT=99, SLURM_STEP_NODELIST=None)
    job = srun(SLURM_STEP_NODELIST=None, SLURM_JOB_NODELIST="x[3-4]")
    one, other = (srun(SLURM_STEP_TASKS_PER_NODE="6", SLURM_STEP_ID=step) for step in (1, 2))
    for told in (given, job, one, other):
        read_srun(told)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("here", "99")
    assert job["MASTER_ADDR"] == "x3"
    assert one["MASTER_ADDR"] == "127.0.0.1"
    assert one["MASTER_PORT"] != other["MASTER_PORT"]


@pytest.mark.parametrize(
    "told",
    [
        {},
        srun(SLURM_STEP_NUM_TASKS=1),  # the shell of salloc is a step, too
        srun(SLURM_STEP_NUM_TASKS=None, SLURM_STEP_TASKS_PER_NODE=None, SLURM_NTASKS_PER_NODE=3),  # a batch script
        srun(SLURM_PROCID=None),
        srun(WORLD_SIZE=4, RANK=2),  # torchrun inside srun
    ],
)
def test_nothing_is_said_without_a_step_of_several(told: dict[str, str]) -> None:
    before = dict(told)
    read_srun(told)
    assert told == before


@pytest.mark.parametrize("tasks", ["4,2", "4(x1),2", "3", "", "many"])
def test_unequal_machines_are_refused(tasks: str) -> None:
    with pytest.raises(ConfigError, match=r"srun started 6 processes, .*--ntasks-per-node"):
        read_srun(srun(SLURM_STEP_TASKS_PER_NODE=tasks))


def test_unknown_machines_are_refused() -> None:
    with pytest.raises(ConfigError, match="set MASTER_ADDR"):
        read_srun(srun(SLURM_STEP_NODELIST=None))


# ------------------------------------------------------------------------------------------------------- trainings


@pytest.mark.parametrize("name", ["job", "interactive"])
def test_a_batch_script_trains_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    told = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_ID": 5, "JOB_NAME": name}
    for variable, value in told.items():
        monkeypatch.setenv(f"SLURM_{variable}", str(value))
    fabric = make_fabric("cpu", "32-true")
    fabric.launch()
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero) == (1, 0, True)
    assert "WORLD_SIZE" not in os.environ


@pytest.mark.long
def test_the_tasks_of_a_step_make_one_training(tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ["--preset", "pix2pixhd-small", "--no-vgg", "--device", "cpu", *tiny_flags()]
    ranks = Ranks(tmp_path)
    try:
        codes = ranks.run(2, "train", tiny_dataset, "--out", run, *flags, "--stop-at", 2, slurm=True)
        assert codes == [0, 0], [ranks.errors(rank).read_text() for rank in (0, 1)]
    finally:
        ranks.close()
    assert len(list(run.glob("events.*"))) == 1  # each training writes its own
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 2
    assert (run / "model.safetensors").is_file()
    assert all(f"GLOBAL_RANK: {rank}, MEMBER: {rank + 1}/2" in ranks.errors(rank).read_text() for rank in (0, 1))
