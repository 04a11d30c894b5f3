"""`gesso edit`."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gesso.cli.common import Data, DataFlags, RuntimeName
from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
    from gesso.editor.server import Project
    from gesso.synthesis.segmenter import PhotoSegmenter
    from gesso.synthesis.synthesizer import Synthesizer

PORT = 8765
SMALL = 20_000_000  # weights of a generator whose layers are too short to be shared well with a busy browser


def edit(
    model: Path,
    *,
    data: Path | None = None,
    split: str = "",
    segmenter: Path | None = None,
    project: Path | None = None,
    host: str = "127.0.0.1",
    port: int = PORT,
    name: Annotated[list[str] | None, Parameter(name="--name", negative=())] = None,
    browser: bool = True,
    device: str = "auto",
    runtime: RuntimeName = "torch",
    flags: Data = None,
) -> None:
    """Paint a layout and see its photograph, in the browser, until interrupted. Nothing leaves this computer.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso that takes label maps.
    data: Path
        A dataset, or a folder of label maps: layouts to start from, and objects to paste.
    split: str
        Part of DATA; by default val, test or train, whichever is there first.
    segmenter: Path
        What gesso evaluate --save-segmenter wrote: finds the layout of photographs, and where results do not show theirs.
    project: Path
        A project that the editor saved, to begin with.
    host: str
        The address to listen at: 127.0.0.1 is this computer alone, 0.0.0.0 everyone who can reach it and has the token.
    port: int
        The port; 0 takes a free one.
    name: list[str]
        Host name under which the page is reached, when it is neither localhost nor an address in numbers; repeatable.
    browser: bool
        Open the page in the browser.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    runtime: str
        What computes: torch, plain, compile, onnx, openvino, or openvino-int8 from the file that gesso export --int8 wrote.
    """
    _require_web()
    from gesso.serving import listen

    console = Console()
    with closing(listen(host, port)) as listening:  # a busy port is said before a large model is read
        opened = _read_project(project)
        with _stages(console) as say:
            say(f"loading {model.name}")
            synth = load_model(model, device, runtime)
            listing = _open_data(synth, data, flags or DataFlags(), split)
            if segmenter:
                say(f"loading {segmenter.name}")
            found = _load_segmenter(segmenter, device)
        title = model.stem if model.stem != "model" else model.resolve().parent.name
        _serve(synth, listening, console, browser, title, listing, found, opened, tuple(name or ()))


def serve(
    synthesizer: Synthesizer,
    *,
    listing: Listing | None = None,
    browser: bool = True,
    console: Console | None = None,
    port: int | None = None,
    name: str = "",
    project: Project | None = None,
) -> None:
    """Serve the editor of a loaded model on this computer alone, until interrupted.

    Args:
        synthesizer: The model.
        listing: A dataset: layouts to start from, and objects to paste.
        browser: Whether the page is opened.
        console: Where the address is printed.
        port: The port; None takes the usual one, or another where that is busy.
        name: What people call the model.
        project: What the page opens first.

    Raises:
        ConfigError: The web extra is missing, or the port busy.
    """
    _require_web()
    from gesso.serving import listen

    try:
        listening = listen("127.0.0.1", PORT if port is None else port)
    except ConfigError:
        if port is not None:
            raise
        listening = listen("127.0.0.1", 0)
    with closing(listening):
        _serve(synthesizer, listening, console or Console(), browser, name, listing, None, project, ())


def _serve(
    synth: Synthesizer,
    listening: socket.socket,
    console: Console,
    browser: bool,
    name: str,
    listing: Listing | None,
    segmenter: PhotoSegmenter | None,
    project: Project | None,
    names: tuple[str, ...],
) -> None:
    import secrets

    from gesso.editor.server import create_app, run
    from gesso.evaluate.faithfulness import faithfulness
    from gesso.serving import is_loopback

    _leave_a_core(synth)
    token = None if is_loopback(listening.getsockname()[0]) else secrets.token_urlsafe(16)
    app = create_app(
        synth,
        name=name,
        listing=listing,
        segmenter=segmenter,
        faithfulness=faithfulness,
        project=project,
        names=names,
        token=token,
    )
    address = _tell(listening, token, console)
    if browser and has_display():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # some browsers do not return
    with suppress(KeyboardInterrupt):  # that is how it ends
        run(app, listening)


def _leave_a_core(synth: Synthesizer) -> None:
    """Let the browser have a core for itself: layers of small models would wait for threads that it holds up."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if synth.device == "cpu" and synth.weights < SMALL and torch.get_num_threads() == cores:
        torch.set_num_threads(max(1, cores - 1))


def _tell(listening: socket.socket, token: str | None, console: Console) -> str:
    """Print where the page is; returns its address on this computer."""
    from gesso.serving import url_of

    ending = f"?token={token}" if token else ""
    address = url_of(listening) + ending
    console.print(f"The editor is at {address} (Ctrl-C ends it).", soft_wrap=True, markup=False, highlight=False)
    if token:
        elsewhere = _elsewhere(listening)
        also = f" From other computers: {elsewhere}{ending}." if elsewhere else ""
        said = f"Whoever has this address can use it; the token is new at each start.{also}"
        console.print(said, soft_wrap=True, markup=False, highlight=False)
    return address


def _elsewhere(listening: socket.socket) -> str:
    """The page's address for other computers, where it listens at all addresses and this one's can be found; else empty."""
    host, port = listening.getsockname()[:2]
    if host != "0.0.0.0":
        return ""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it chooses the way to the outside
        except OSError:
            return ""
        return f"http://{probe.getsockname()[0]}:{port}/"


def has_display() -> bool:
    """Whether a browser with windows can be opened."""
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )


def _require_web() -> None:
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"The editor needs {error.name}, which is not installed: pip install 'gesso[web]'.") from None


@contextmanager
def _stages(console: Console) -> Iterator[Callable[[str], None]]:
    """Shows what is being done and how long it has taken; how long it will take nobody knows."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what: bar.update(task, description=what)


def load_model(path: Path, device: str, runtime: str = "torch") -> Synthesizer:
    """A model that can be edited with.

    Raises:
        ConfigError: It takes pictures, not label maps; or there is no such device, or runtime.
        ModelFileError: The file is missing or damaged, or holds values that are no numbers.
    """
    from gesso.checkpoints import load_model as read
    from gesso.editor.rendering import refuse_broken
    from gesso.synthesis.runtimes import runtime_device
    from gesso.synthesis.synthesizer import Synthesizer

    chosen = runtime_device(runtime, device)
    model = read(path, chosen)
    refuse_broken(model, path)
    return Synthesizer(model, chosen, runtime=runtime, path=path)


def _open_data(synth: Synthesizer, data: Path | None, flags: DataFlags, split: str) -> Listing | None:
    from gesso.cli.generate import find_listing
    from gesso.cli.read_as import as_trained

    if data is None and flags == DataFlags():
        if split:
            raise ConfigError(f"--split {split} is a part of a dataset: name it with --data.")
        return None
    return find_listing(data, as_trained(synth.info, data, flags), split, pictures=False)


def _load_segmenter(path: Path | None, device: str) -> PhotoSegmenter | None:
    from gesso.synthesis.segmenter import load_segmenter

    if path is None:
        return None
    return load_segmenter(path, device)


def _read_project(path: Path | None) -> Project | None:
    from gesso.editor.security import Limits
    from gesso.editor.server import Project

    if path is None:
        return None
    if not path.is_file():
        raise DataError(f"--project {path}: there is no such file. The editor saves projects as .zip.")
    if (size := path.stat().st_size) > Limits().bytes:
        raise DataError(f"--project {path} has {size} bytes; a project has at most {Limits().bytes}.")
    return Project(path.name, path.read_bytes())
