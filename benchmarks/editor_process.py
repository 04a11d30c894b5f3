"""`gesso edit` as a process of its own, and the memory that it occupies: what measurements of its server share."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MEBI = 2**20
WARM = 10.0  # seconds until memory has settled,
SETTLED = 5  # and photographs that every client has by then: each thread of the server keeps some room
LATEST = 300.0  # seconds after which it should be warm


class Wrong(Exception):
    """Something did not hold; the message is one sentence."""


@contextmanager
def served(model: Path, *options: object) -> Iterator[tuple[str, subprocess.Popen[str], Path]]:
    """Address and process of `gesso edit` with further options, and the file with what it says is wrong."""
    command = [sys.executable, "-m", "gesso", "edit", str(model), "--port", "0", "--no-browser", *map(str, options)]
    environment = {**os.environ, "COLUMNS": "300", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "errors").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            assert process.stdout is not None
            address = next((m[1] for line in process.stdout if (m := re.search(r"(http://[\d.:]+)", line))), None)
            said = Path(errors.name)
            if address is None:
                why = " ".join(said.read_text().split()) or f"it ended with status {process.wait(20)}"
                raise Wrong(f"gesso edit did not start: {why}")
            yield address, process, said
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()


def resident(process: int) -> int:
    """Bytes of memory that a process occupies.

    Raises:
        Wrong: It has ended.
    """
    status = Path(f"/proc/{process}/status")
    if status.exists():
        said = re.search(r"VmRSS:\s+(\d+)", status.read_text())
    else:
        listed = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=False)
        said = re.search(r"(\d+)", listed.stdout)
    if said is None:
        raise Wrong("gesso edit ended while its clients were asking.")
    return 1024 * int(said[1])


@dataclass
class Memory:
    """What the server occupies while it is asked: first until it is warm, then for so many seconds.

    Attributes:
        seconds: How long, once it is warm.
        began: When it was first asked.
        warm: When it was warm; infinitely late until then.
        samples: Moments, and bytes that it occupied then.
    """

    seconds: float
    began: float = field(default_factory=time.perf_counter)
    warm: float = math.inf
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.perf_counter() >= self.warm + self.seconds

    def look(self, process: int, fewest: int) -> None:
        """Note what it occupies now.

        Args:
            process: The server.
            fewest: Photographs of the client that has the fewest.

        Raises:
            Wrong: It has ended, or does not become warm.
        """
        now = time.perf_counter()
        self.samples.append((now, resident(process)))
        if math.isinf(self.warm) and now - self.began >= WARM and fewest >= SETTLED:
            self.warm = now
        if math.isinf(self.warm) and now - self.began > LATEST:
            raise Wrong(
                f"After {LATEST:g} s some client had {fewest} photographs only: this machine is too slow, or too busy."
            )

    def figures(self) -> dict[str, Any]:
        """In bytes: medians of 10 s, once it was warm and at the end; and the peak."""
        end = self.warm + self.seconds
        warm, last = self._median(self.warm), self._median(end - WARM)
        return {
            "warm_after": self.warm - self.began,
            "warm": warm,
            "end": last,
            "growth": last - warm,
            "peak": max(occupied for _, occupied in self.samples),
            "every_10_s": [self._median(start) for start in np.arange(self.warm, end - WARM / 2, WARM)],
        }

    def _median(self, start: float) -> int:
        return int(np.median([occupied for when, occupied in self.samples if start <= when < start + WARM]))
