"""Who started this process, and with which others: torchrun says so in variables of its own, SLURM's srun in others."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from gesso.errors import ConfigError

_PORTS = range(15000, 30000)  # below those that systems give away by themselves


def read_srun(environment: MutableMapping[str, str] = os.environ) -> None:
    """Say in torchrun's words what srun says, where it started several tasks at once, of which this process is one.

    Only variables of the *step* count, which srun alone sets: those of the job are there in a batch script, too, which runs once
    however many tasks were asked for. What torchrun said already stays, and so do MASTER_ADDR and MASTER_PORT.

    Args:
        environment: Variables of this process; gets RANK, LOCAL_RANK, GROUP_RANK, NODE_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE,
            MASTER_ADDR and MASTER_PORT.

    Raises:
        ConfigError: The machines have unequal numbers of tasks, or SLURM does not say how many.
    """
    world = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    needed = {"SLURM_PROCID", "SLURM_LOCALID"}
    if "WORLD_SIZE" in environment or world == 1 or not needed <= environment.keys():
        return
    told = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    tasks = _counts(told)
    if len(set(tasks)) != 1 or sum(tasks) != world:
        raise ConfigError(
            f"srun started {world} processes, {told or 'an unknown number'} on the machines in turn (SLURM_STEP_TASKS_PER_NODE); "
            "every machine has to have as many as the others: give srun --nodes and --ntasks-per-node, without --ntasks."
        )
    node = environment.get("SLURM_NODEID", "0")
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    if len(tasks) > 1 and not hosts and "MASTER_ADDR" not in environment:
        raise ConfigError("srun does not say on which machines it started (SLURM_STEP_NODELIST): set MASTER_ADDR.")
    environment.setdefault("MASTER_ADDR", _first_host(hosts) if len(tasks) > 1 else "127.0.0.1")
    environment.setdefault("MASTER_PORT", str(_port(environment)))
    ranks = {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "GROUP_RANK": node,
        "NODE_RANK": node,
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(tasks[0]),
    }
    environment.update(ranks)


def _counts(told: str) -> list[int]:
    """Tasks of each machine: "4(x2),1" are 4, 4, 1; none where it is written in another way."""
    counts: list[int] = []
    for part in told.split(","):
        if not (match := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())):
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _first_host(hosts: str) -> str:
    """The first of "node[01-04,7],other"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else hosts)


def _port(environment: MutableMapping[str, str]) -> int:
    """The same in all processes of a step, and another one in other steps, as far as possible."""
    job, step = (environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    number = 7 * int(job if job.isdigit() else 0) + int(step if step.isdigit() else 0)
    return _PORTS[number % len(_PORTS)]
