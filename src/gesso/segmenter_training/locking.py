"""One process at a time: two that train the same segmenter would remove each other's files."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from rich.console import Console

from gesso.checkpoints import disk_errors

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        os.lseek(handle, BEYOND, os.SEEK_SET)  # what Windows locks, others cannot read
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


BEYOND = 2**20
PAUSE = 0.3  # seconds between two attempts


@contextmanager
def alone(path: Path, what: str, console: Console | None = None) -> Iterator[None]:
    """Wait until no other process writes a file, and keep others from it meanwhile.

    The system itself gives the lock back when its holder ends, however it ends: none is ever left over.

    Args:
        path: The file that is to be written; the lock is a hidden file beside it.
        what: What is made, as those who wait are told.
        console: Where that is said; None for silence.

    Raises:
        TrainingError: The folder cannot be written to.
    """
    lock = path.with_name(f".{path.name}.lock")
    handle = _held(lock, what, console)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # while it is held: whoever waits for this one sees that it is gone, and makes another
        os.close(handle)


def _held(lock: Path, what: str, console: Console | None) -> int:
    """A handle of the lock, once it is ours."""
    told = console is None
    while True:
        with disk_errors(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        if _taken(handle):
            if _same(handle, lock):
                os.ftruncate(handle, 0)
                since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
                return handle
        elif not told and console is not None:
            holder = os.read(handle, 200).decode(errors="replace") or "another process"
            console.print(f"{what} is in the works by {holder}: waiting for it.", soft_wrap=True, highlight=False)
            told = True
        os.close(handle)
        time.sleep(PAUSE)


def _taken(handle: int) -> bool:
    """Whether the lock is ours now; on disks that know no locks, everyone has it."""
    try:
        _take(handle)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def _same(handle: int, lock: Path) -> bool:
    """Whether the file that is open is still the one of that name: its last holder has removed it."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False
