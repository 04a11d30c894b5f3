"""Which files this process touches: an audit hook, active only while somebody looks."""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gesso

READING = {"os.listdir", "os.scandir", "os.chdir", "os.getxattr", "ctypes.dlopen"}  # and "open", by its flags
WRITING = {
    *"os.chmod os.chown os.link os.mkdir os.remove os.rename os.rmdir os.symlink os.truncate os.utime".split(),
    *"os.setxattr sqlite3.connect".split(),
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NEVER = set("os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty os.kill subprocess.Popen".split())
MEMORY = ("/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup")  # where Linux says how much is left
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


class Watch:
    """Notes what this process does with files, in all threads, while it is active.

    Python cannot take an audit hook away again; one that is not active costs a look at a flag. What libraries in C open by
    themselves is not seen.
    """

    def __init__(self) -> None:
        self._readable: tuple[Path, ...] | None = None
        self._listed: set[Path] = set()
        self._temporary = Path(tempfile.gettempdir()).resolve()
        self.touched: list[str] = []
        sys.addaudithook(self._heard)

    @contextmanager
    def over(self, *readable: Path) -> Iterator[list[str]]:
        """What is touched inside, but for what a well-behaved server touches.

        That is: reading these files and folders, the package, Python's libraries, and where Linux says how much memory is left;
        temporary files as `tempfile` makes them, nameless or of a name that begins with tmp, directly in its folder; and Python's
        compiled modules.
        """
        self.touched = []
        zips = (one for one in sys.path if one.endswith(".zip"))
        whole = (Path(gesso.__file__).parent, *map(sysconfig.get_path, LIBRARIES), *zips, *MEMORY, *readable)
        self._readable = tuple(Path(one).resolve() for one in whole)
        self._listed = {Path(one).resolve() for one in sys.path}  # where imports look
        try:
            yield self.touched
        finally:
            self._readable = None

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._readable is None:
            return
        if event in NEVER:
            self.touched.append(f"{event} {arguments!r:.300}")
        elif event == "open" or event in READING or event in WRITING:
            named = arguments[0] if arguments else None
            if isinstance(named, str | bytes | os.PathLike):
                path = Path(os.path.realpath(os.fsdecode(named)))
                if not self._is_fair(
                    event, path, bool(event in WRITING or (event == "open" and arguments[2] & WRITES))
                ):
                    self.touched.append(f"{event} {path}")

    def _is_fair(self, event: str, path: Path, writes: bool) -> bool:
        if path == self._temporary or (path.parent == self._temporary and path.name.startswith("tmp")):
            return True
        readable = self._readable or ()
        if not any(path.is_relative_to(one) for one in readable):
            return event == "os.listdir" and path in self._listed
        return not writes or "__pycache__" in path.parts
