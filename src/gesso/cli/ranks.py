"""The processes that share one command, each of them a rank: who they are, what they count together, and what becomes of them.

They are started as those of a training are: by torchrun, on one machine or several, or directly by SLURM's srun. Each does its
own share without waiting for the others; all they have in common is a small store of keys and numbers, so that a rank that ends
early spoils nothing that another one does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

from gesso.errors import ConfigError, GessoError, TrainingError
from gesso.launch import read_srun

BEAT = 2.0  # seconds between two signs of life
SILENCE = 60.0  # seconds without any after which a rank of another machine is taken for dead
POLL = 0.2  # seconds between two looks at what the others do
MEETING = 1800.0  # seconds for all ranks to arrive; models may have to be fetched from slow disks


class _StopError(BaseException):
    """The launcher asked this process to end; not an Exception, so that nothing on the way takes it for one of its own."""


class _RanksError(TrainingError):
    """About other ranks, which it names."""


@dataclass
class Ranks:
    """This process among those that share a command.

    Attributes:
        rank: Its number, 0 to world - 1.
        world: How many there are.
        device: Where this one computes.
        store: Keys and values that all of them see; None of a process alone.
    """

    rank: int = 0
    world: int = 1
    device: str = "auto"
    store: Any = None
    _counts: dict[str, int] = field(default_factory=dict)
    _lost: bool = False  # whether the store is gone, and with it the process that kept it

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"rank {self.rank} of {self.world}"

    def share(self, count: int) -> range:
        """The numbers of this rank's things among `count` that are listed in one order everywhere."""
        return range(self.rank, count, self.world)

    def add(self, key: str, number: int = 0) -> int:
        """Add to a count of all ranks; what it is then."""
        self._counts[key] = self._counts.get(key, 0) + number
        if self.store is None:
            return self._counts[key]
        found = self._ask(lambda: self.store.add(key, number))
        return self._counts[key] if found is None else int(found)

    def agree(self, what: str, document: str) -> None:
        """See that all ranks are about to do the same.

        Args:
            what: The name of it, for the message.
            document: What has to be equal.

        Raises:
            ConfigError: Rank 0 has another document.
            TrainingError: Rank 0 ended before it could say.
        """
        if self.store is None:
            return
        own = hashlib.sha256(document.encode()).hexdigest()
        if self.rank == 0:
            self.store.set("agreed", own)
        began = time.monotonic()
        while not self._ask(lambda: self.store.check(["agreed"])):
            if self._lost or self._ended(0) or self._is_gone(0) or time.monotonic() - began > MEETING:
                raise TrainingError(f"rank 0 of {self.world} ended before the work began.")
            time.sleep(POLL)
        if self.store.get("agreed").decode() != own:
            raise ConfigError(
                f"It sees other {what} than rank 0 does: give all processes the same command, and let every machine see the "
                "same files under the same paths."
            )

    @contextlib.contextmanager
    def working(self, advice: str) -> Iterator[None]:
        """Let the others know what becomes of this rank's work inside, and let errors name the rank.

        Args:
            advice: What to do where something went wrong, as the end of a message.

        Raises:
            GessoError: As raised inside, with the rank's name.
            TrainingError: The launcher stopped this rank because another one failed; the message names that.
        """
        if self.store is None:
            yield
            return
        self.store.set(f"place/{self.rank}", f"{socket.gethostname()} {os.getpid()}")
        done, before = threading.Event(), signal.signal(signal.SIGTERM, _stop)
        threading.Thread(target=self._beat, args=(done,), daemon=True).start()
        try:
            yield
        except _StopError:
            self._explain_stop(advice)
        except _RanksError:
            raise
        except GessoError as error:
            self._say_end("failed")
            raise type(error)(f"{self.name}: {error} {advice}") from None
        except BaseException:
            self._say_end("failed")
            raise
        finally:
            done.set()
            signal.signal(signal.SIGTERM, before)

    def finish(self, advice: str) -> Iterator[None]:
        """To be gone through when this rank's share is done: rank 0 waits, a step at a time, until the others have ended.

        Raises:
            _RanksError: Another rank failed, or ended without a word; the message names it.
        """
        if self.store is None:
            return
        self._say_end("finished")
        if self.rank == 0:
            yield from self._wait(advice)
        if self._lost:
            raise _RanksError(f"rank 0 of {self.world}, which keeps count, ended before {self.name}. {advice}")

    # ---------------------------------------------------------------------------------------------- what became of them

    def _ask(self, question: Callable[[], Any]) -> Any:
        """An answer of the store; None where it is gone."""
        from torch.distributed import DistError

        if self._lost:
            return None
        try:
            return question()
        except (DistError, RuntimeError):
            self._lost = True
            return None

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(BEAT) and not self._lost:
            self._ask(lambda: self.store.add(f"beat/{self.rank}", 1))

    def _beats(self, rank: int) -> Any:
        return self._ask(lambda: self.store.add(f"beat/{rank}", 0))

    def _say_end(self, how: str) -> None:
        self._ask(lambda: self.store.set(f"ended/{self.rank}", how))

    def _ended(self, rank: int) -> str:
        """How a rank ended, in its own words: "finished", "failed", or "" where it has not said."""
        there = self._ask(lambda: self.store.check([f"ended/{rank}"]))
        return str(self._ask(lambda: self.store.get(f"ended/{rank}")).decode()) if there else ""

    def _place(self, rank: int) -> tuple[str, int]:
        if not self._ask(lambda: self.store.check([f"place/{rank}"])):
            return "", 0
        host, process = self._ask(lambda: self.store.get(f"place/{rank}")).decode().rsplit(" ", 1)
        return host, int(process)

    def _is_gone(self, rank: int) -> bool:
        """Whether a rank's process is no longer there, as far as this machine can tell."""
        host, process = self._place(rank)
        if host != socket.gethostname():
            return False
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _wait(self, advice: str) -> Iterator[None]:
        """Until every other rank has ended one way or another.

        Raises:
            _RanksError: One of them did not finish.
        """
        heard = dict.fromkeys(range(1, self.world), (-1, time.monotonic()))
        lost: dict[int, str] = {}
        while heard:
            yield
            for rank, (beats, since) in list(heard.items()):
                gone = self._is_gone(rank)  # before its last word is looked for: it may be on its way
                now = self._beats(rank)
                if now != beats:
                    heard[rank] = (now, time.monotonic())
                silent = time.monotonic() - since > SILENCE and now == beats
                if how := self._ended(rank) or ("gone" * (gone or silent)):
                    del heard[rank]
                    lost |= {} if how == "finished" else {rank: how}
            time.sleep(POLL if heard else 0)
        if lost:
            raise _RanksError(f"{self._describe(lost)} {advice}")

    def _describe(self, lost: dict[int, str]) -> str:
        """One sentence for every rank that did not finish."""
        words = []
        for rank, how in sorted(lost.items()):
            host, process = self._place(rank)
            silently = f" (process {process} on {host}) ended without a word, as one does that the system kills, often for want "
            said = " failed, as it said above." if how == "failed" else silently + "of memory."
            words.append(f"rank {rank} of {self.world}{said}")
        return " ".join(words)

    def _explain_stop(self, advice: str) -> None:
        """The launcher stops every rank where one has ended; the first to come says why.

        Raises:
            TrainingError: Naming the rank.
            SystemExit: Another rank has said it.
        """
        others = [rank for rank in range(self.world) if rank != self.rank]
        ends = {rank: self._ended(rank) or ("gone" if self._is_gone(rank) else "") for rank in others}
        lost = {rank: how for rank, how in ends.items() if how in ("failed", "gone")}
        self._say_end("stopped")
        if self._ask(lambda: self.store.add("told", 1)) not in (1, None) or "failed" in lost.values():
            sys.exit(1)
        why = self._describe(lost) if lost else f"{self.name} was told to stop."
        raise TrainingError(f"{why} {advice}") from None


def _stop(number: int, frame: FrameType | None) -> None:
    raise _StopError


# ------------------------------------------------------------------------------------------------------------ meeting


def join(device: str) -> Ranks:
    """This process among those that torchrun or SLURM started, on its own device; or alone.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: The device is not on this machine, or SLURM gave the machines unequal numbers of processes.
    """
    read_srun()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(device=device)
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    from gesso.train import make_fabric

    fabric = make_fabric(device, "32-true")
    fabric.launch()
    place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"gesso/{attempt}", TCPStore(place, port, timeout=timedelta(seconds=SILENCE)))
    return Ranks(fabric.global_rank, fabric.world_size, str(fabric.device), store)
