"""Several processes that write one file at once, what killed ones leave behind, and what to say of a disk that refuses."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from gesso.errors import TrainingError

DAY = 86400.0  # seconds
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def writer_name() -> str:
    """What tells this thread from all others that may write the same file, on this machine or another."""
    return f"{socket.gethostname()}.{os.getpid()}-{threading.get_ident()}"


def make_among_others(folder: Path) -> None:
    """Make a folder in one that others, who write the same file, make and remove as well."""
    for attempt in range(100):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # another one was done, and removed what lies between
            if attempt == 99:
                raise
        else:
            return


def remove_leftovers(folder: Path) -> None:
    """Remove what processes left that were killed while writing; of other machines only what is older than a day."""
    with suppress(FileNotFoundError):
        for left in list(folder.iterdir()):
            host, _, writer = left.name.rpartition(".")
            process = writer.partition("-")[0]
            gone = host == socket.gethostname() and process.isdigit() and not _is_alive(int(process))
            with suppress(FileNotFoundError):
                if gone or time.time() - left.stat().st_mtime > DAY:
                    shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where asking is killing
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say which file or folder could not be written, and what to do.

    Raises:
        TrainingError: The disk is full or refuses.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path} could not be written: {error}. {_advice(path, error)}run the same command again to go on."
        ) from None


def _advice(path: Path, error: OSError | SafetensorError) -> str:
    """The beginning of what to do; safetensors says the number of an error in words alone."""
    untouched = "What was saved before is untouched; "
    numbers = {getattr(error, "errno", None), *map(int, re.findall(r"os error (\d+)", str(error)))}
    if numbers.intersection(FULL):
        there = next(folder for folder in path.absolute().parents if folder.exists())
        return f"{shutil.disk_usage(there).free / 2**20:.1f} MiB are free there. {untouched}make room, and "
    return f"{untouched}allow writing there, and " if numbers.intersection(REFUSED) else f"{untouched}mend that, and "
