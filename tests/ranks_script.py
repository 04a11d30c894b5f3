"""`python ranks_script.py` keeps everything imported, and forks the ranks of a command for each line of JSON that it reads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from gesso import train  # what ranks would import one by one
from gesso.cli import generate
from gesso.synthesis import synthesizer
from training_script import attempt

IMPORTED = (generate, synthesizer, train)


def serve() -> None:
    """For each line {"ranks": [{"environment": {...}, ...}, ...]}: fork them, print their numbers, later how they ended."""
    for line in sys.stdin:
        children = []
        for order in json.loads(line)["ranks"]:
            child = os.fork()
            if child == 0:
                os.environ.update(order["environment"])
                os._exit(attempt(order))
            children.append(child)
        print(json.dumps(children), flush=True)
        codes = dict(os.wait() for _ in children)
        print(json.dumps([os.waitstatus_to_exitcode(codes[child]) for child in children]), flush=True)


def srun_variables(rank: int, world: int) -> dict[str, Any]:
    """What `srun -n WORLD` sets within salloc, on one machine."""
    job = {"SLURM_JOB_ID": 4711, "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": world}
    step = {"SLURM_STEP_ID": 1, "SLURM_STEP_NUM_TASKS": world, "SLURM_STEP_TASKS_PER_NODE": world}
    return {**job, **step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": 0}


class Ranks:
    """The other end of `serve`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"},
        )

    def start(self, world: int, *words: object, slurm: bool = False, **orders: dict[str, Any]) -> list[int]:
        """Begin a command in so many processes; their numbers. `orders` are more for a rank, as rank1={"hang_at": 3}."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ranks = []
        for rank in range(world):
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            if slurm:
                told = srun_variables(rank, world)
            ranks.append(
                {
                    "arguments": [str(word) for word in words],
                    "errors": str(self.errors(rank)),
                    "marker": str(self.folder / f"hanging{rank}"),
                    "environment": place | {name: str(value) for name, value in told.items()},
                    **orders.get(f"rank{rank}", {}),
                }
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"ranks": ranks}) + "\n")
        self._process.stdin.flush()
        return list(json.loads(self._process.stdout.readline()))

    def wait(self) -> list[int]:
        """How each rank ended: its exit code, or minus the signal that killed it."""
        assert self._process.stdout
        return list(json.loads(self._process.stdout.readline()))

    def run(self, world: int, *words: object, **more: Any) -> list[int]:
        self.start(world, *words, **more)
        return self.wait()

    def errors(self, rank: int) -> Path:
        return self.folder / f"errors{rank}.txt"

    def said(self, rank: int) -> str:
        """What gesso said on standard error, without what Fabric says."""
        lines = self.errors(rank).read_text().splitlines()
        return "\n".join(line for line in lines if line.startswith("gesso:"))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


if __name__ == "__main__":
    serve()
