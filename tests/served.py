"""What the tests of the editor's server share: a server in this process or another, a model that waits, and files."""

from __future__ import annotations

import io
import os
import queue
import re
import signal
import struct
import subprocess
import sys
import threading
import zlib
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image

from gesso.editor import security
from gesso.editor.security import Limits
from gesso.editor.server import server
from gesso.serving import listen, url_of
from gesso.synthesis.synthesizer import Synthesizer
from styled import scene

LIMITS = Limits(pixels=128 * 128, bytes=200_000)
LOCAL = "http://localhost:8765"


def png(array: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG", **options)
    return content.getvalue()


def as_rgba(instance: Any) -> Any:
    return instance.astype("<i4").view(np.uint8).reshape(*instance.shape, 4)


def fields(**more: Any) -> dict[str, Any]:
    """What /api/render is sent: the maps of `scene`, and form fields."""
    label, instance = scene()
    files = {"label": ("l.png", png(label.astype(np.uint8))), "instance": ("i.png", png(as_rgba(instance)))}
    return {"files": files, "data": {name: str(value) for name, value in more.items()}}


def pixels(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def bomb(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says its size; of so much data that decoding would be noticed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        security.PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", data or zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def jpeg_of(picture: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", **options)
    return content.getvalue()


class Held:
    """Stands in for a Synthesizer that computes until it is let go."""

    def __init__(self, like: Synthesizer) -> None:
        self.like, self.begun, self.allowed = like, queue.Queue[int](), threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.like, name)

    def __call__(self, label: Any, instance: Any, style: Any, seed: int) -> Any:
        self.begun.put(seed)
        assert self.allowed.acquire(timeout=20)
        return self.like(label, instance, style, seed)


class served:
    """The address at which an application is served, in a thread."""

    def __init__(self, app: FastAPI, limits: Limits | None = None) -> None:
        self.server, self.listening = server(app, limits), listen("127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})

    def __enter__(self) -> str:
        self.thread.start()
        return url_of(self.listening).rstrip("/")

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.listening.close()
        assert not self.thread.is_alive()


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from gesso.cli import main; main()", "edit", *map(str, words), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300", "PYTHONUNBUFFERED": "1"}
    environment |= {"BROWSER": f"{sys.executable} -c pass %s"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"The editor is at (http://\S+) ", line)
    assert found, line + process.stdout.read()
    return found[1]


def stopped(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    return rest
