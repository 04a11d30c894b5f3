"""The model behind one lock: layouts and styles in, photographs out.

Waiting requests are served by rank: live renders go before what people ask for once, that before crops and swatches. No rank
waits forever: each step is worth so many later arrivals (`PATIENCE`), not all of them. Crops and swatches also break off for live
renders that come while they are computed, and begin anew when nobody paints: so many times, or as often as it takes where each
of them would take long.
"""

from __future__ import annotations

import heapq
import io
import json
import math
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch.nn.modules.module import register_module_forward_pre_hook

from gesso.checkpoints import Model
from gesso.editor.security import PNG_MAGIC, Limits
from gesso.editor.workers import release_workers
from gesso.errors import ConfigError, GessoError, LabelError, ModelFileError
from gesso.labels import LabelSpace
from gesso.pictures import Picture
from gesso.synthesis.inputs import refuse_seed
from gesso.synthesis.style import Style
from gesso.synthesis.style_space import fitted
from gesso.synthesis.synthesizer import PNG_KEY, Synthesizer

IntArray = npt.NDArray[np.integer[Any]]
SCALES = {1: 1, 0.5: 2, 0.25: 4, 0.125: 8}  # of a preview: every how many pixels one is taken
PATIENCE = 8
QUIET = 1.0  # seconds without a live render after which nobody paints
SLOW = 400.0  # ms that a whole photograph takes, from which on a nearly right one comes before it

_HOOKING = threading.Lock()  # model and segmenter compute at once, and torch numbers its hooks without a lock

GONE: ContextVar[threading.Event | None] = ContextVar("gone", default=None)
"""Set once the client of the request that runs here no longer waits for the answer."""


class Priority(IntEnum):
    """Who goes first."""

    LIVE = 0
    RENDER = 1
    CROP = 2
    SWATCH = 3


class Abandoned(Exception):
    """Nobody waits for this photograph any more."""


class GaveWay(Exception):
    """Somebody paints, who goes first."""


class Closing(ConfigError):
    """The editor ends."""

    def __init__(self) -> None:
        super().__init__("The editor is being closed; start it again to go on.")


@dataclass(frozen=True)
class Rendered:
    """A photograph.

    Attributes:
        picture: (H, W, 3) uint8.
        milliseconds: Where the time went: "wait" for the model, and "model".
        style: What was worn, as it goes into the record.
        off: About how far it is from the exact one, in levels of 255 on average, where it is only nearly right.
    """

    picture: Picture
    milliseconds: dict[str, float]
    style: Style | None = None
    off: float | None = None


class Turns:
    """A lock that is handed on by rank, and within a rank in the order of arrival.

    Attributes:
        changed: Notified when somebody comes, or leaves.
        live: How many live renders wait.
        last: When the last one came, in seconds of `time.monotonic`.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.live = 0
        self.last = -math.inf
        self._queue: list[int] = []
        self._arrivals = 0
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def wait_for(self, waiting: int, timeout: float) -> bool:
        """Wait until so many wait, at most so many seconds; whether they do."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self._queue) >= waiting, timeout)

    @contextmanager
    def taken(self, priority: Priority, refuse: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Wait for one's turn, and have it inside.

        Args:
            priority: Who goes first.
            refuse: Asked whenever something changed; what it raises ends the waiting.
        """

        def come() -> bool:
            refuse()
            return not self._taken and self._queue[0] == ticket

        with self.changed:
            self._arrivals += 1
            ticket = (self._arrivals + PATIENCE * priority) * 2**32 + self._arrivals  # the latter makes it unique
            heapq.heappush(self._queue, ticket)
            if priority == Priority.LIVE:
                self.live, self.last = self.live + 1, time.monotonic()
            self.changed.notify_all()
            try:
                self.changed.wait_for(come)
            finally:
                self._queue.remove(ticket)
                self.live -= priority == Priority.LIVE
                heapq.heapify(self._queue)
                self.changed.notify_all()
            self._taken = True
        try:
            yield
        finally:
            with self.changed:
                self._taken = False
                self.changed.notify_all()

    def stir(self) -> None:
        """Let everybody who waits look anew whether to go on."""
        with self.changed:
            self.changed.notify_all()

    def rest(self) -> None:
        """Wait until nobody has the turn."""
        with self.changed:
            self.changed.wait_for(lambda: not self._taken)


class Renderer:
    """The one way to the model.

    Attributes:
        synthesizer: The model; to be computed with inside `turn` alone.
        space: Its classes.
        limits: Of the layouts that it is given.
        turns: Who waits for the model.
        closed: Whether the editor ends.
    """

    def __init__(self, synthesizer: Synthesizer, limits: Limits | None = None) -> None:
        """Put a model behind a lock.

        Raises:
            ConfigError: It takes pictures, not layouts.
        """
        self.space: LabelSpace = require_classes(synthesizer.label_space)
        self.synthesizer = synthesizer
        self.limits = limits or Limits()
        self.closed = threading.Event()
        self.turns = Turns()
        self._session = synthesizer.editing_session()
        self._whose: object = None  # the last whole photograph that it remembers
        self._took = 0.0  # ms, for the last whole photograph

    def refuse_all(self) -> None:
        """Let nobody compute any more; who waits is refused at once. Returns while something may still be computed."""
        self.closed.set()
        self.turns.stir()

    def close(self) -> None:
        """Let nobody compute any more; returns when nothing is being computed. A process must not end inside a model."""
        self.refuse_all()
        self.turns.rest()

    def refuse_closed(self) -> None:
        """See that the editor goes on.

        Raises:
            Closing: It ends.
        """
        if self.closed.is_set():
            raise Closing

    def refuse_unwanted(self) -> None:
        """See that somebody waits for what is to be computed.

        Raises:
            Abandoned: Who asked no longer does.
            Closing: The editor ends.
        """
        self.refuse_closed()
        gone = GONE.get()
        if gone is not None and gone.is_set():
            raise Abandoned

    @contextmanager
    def turn(self, priority: Priority = Priority.RENDER, gives_way: bool = False) -> Iterator[Synthesizer]:
        """The model for oneself, inside; from threads alone, as it waits. Not to be nested.

        Args:
            priority: Who goes first.
            gives_way: Whether to break off for live renders.

        Raises:
            Abandoned: Who asked no longer waits.
            Closing: The editor ends.
            GaveWay: A live render waits.
        """
        with self.turns.taken(priority, self.refuse_closed):
            self.refuse_unwanted()
            with self.interruptible(gives_way):
                yield self.synthesizer

    @contextmanager
    def interruptible(self, gives_way: bool = False) -> Iterator[None]:
        """Look before every layer that this thread computes whether somebody still waits: large pictures take minutes.

        Raises:
            Abandoned: Who asked no longer waits.
            Closing: The editor ends.
            GaveWay: A live render waits, for which this was to give way.
        """
        here = threading.get_ident()

        def look(*_: object) -> None:
            if threading.get_ident() == here:
                self.refuse_unwanted()
                if gives_way and self.turns.live:
                    raise GaveWay

        with _HOOKING:
            looking = register_module_forward_pre_hook(look)
        try:
            yield
        finally:
            with _HOOKING:
                looking.remove()
            release_workers()

    def render(
        self,
        label: IntArray,
        instance: IntArray | None = None,
        style: Style | None = None,
        seed: int = 0,
        scale: float = 1,
        priority: Priority = Priority.RENDER,
    ) -> Rendered:
        """Photograph of a layout.

        Args:
            label: (H, W) class indices.
            instance: (H, W) object ids; None derives them, as the Synthesizer does.
            style: What was chosen. Choices for objects that the layout does not show are left out.
            seed: Of what the style leaves open.
            scale: 1, or 0.5, 0.25 or 0.125 for a preview of that size.
            priority: Who goes first.

        Raises:
            GessoError: As the Synthesizer; or the layout is too large, or the scale another.
            Abandoned: Who asked no longer waits.
        """
        began, left = time.perf_counter(), PATIENCE if priority >= Priority.CROP else 0
        while True:
            try:
                with self.turn(priority, gives_way=left > 0 or (priority >= Priority.CROP and self._took > SLOW)):
                    wait = 1000 * (time.perf_counter() - began)
                    rendered = self.now(label, instance, style, seed, scale)
                return replace(rendered, milliseconds={"wait": wait, **rendered.milliseconds})
            except GaveWay:
                left -= 1
                while (rest := self.turns.last + QUIET - time.monotonic()) > 0:
                    self.closed.wait(rest)
                    self.refuse_unwanted()

    def now(
        self,
        label: IntArray,
        instance: IntArray | None = None,
        style: Style | None = None,
        seed: int = 0,
        scale: float = 1,
        painter: object = None,
    ) -> Rendered:
        """Like `render`, for those who have the turn already; remembered for a painter, for whom `nearly` may come next."""
        start = time.perf_counter()
        self.limits.refuse_size(*self._size(label), "layout")
        label, instance = reduced(label, scale), None if instance is None else reduced(instance, scale)
        worn = self.fitting(style, label, instance)
        remembers = painter is not None and scale == 1 and self._session.partial and self._took > SLOW
        if remembers:
            self._whose = None
        picture = (self._session.render if remembers else self.synthesizer)(label, instance, worn, seed)
        took = 1000 * (time.perf_counter() - start)
        self._whose = painter if remembers else self._whose
        self._took = took if scale == 1 else self._took
        return Rendered(picture, {"model": took}, worn)

    def nearly(
        self, painter: object, label: IntArray, instance: IntArray | None, style: Style | None, seed: int
    ) -> Rendered | None:
        """What comes before a photograph that takes long: the last one that this painter got, with what changed; in one's turn.

        Returns:
            None where there is none to go by, most of it changed, or whole photographs take no longer any more.
        """
        if painter is not self._whose or self._took <= SLOW:  # a fast model that stumbled once has no need of it
            return None
        start = time.perf_counter()
        self.limits.refuse_size(*self._size(label), "layout")
        found = self._session.nearly(label, instance, self.fitting(style, label, instance), seed)
        if found is None:
            return None
        return Rendered(found.picture, {"model": 1000 * (time.perf_counter() - start)}, None, found.estimate)

    def fitting(self, style: Style | None, label: IntArray, instance: IntArray | None) -> Style | None:
        """The style as the model takes it for a layout.

        Choices for objects that the layout does not show are left out: they are hidden behind others, or outside. Models without
        style take none; one that chooses nothing means that.

        Raises:
            StyleError: An id is ambiguous.
            ConfigError: The seed is out of range.
        """
        if style is None:
            return None
        refuse_seed(style.seed or 0)
        if self.synthesizer.style_kind is None and style == Style(seed=style.seed):
            return None
        space = self.synthesizer.style_space
        if space is None or not style.instances:
            return style
        return fitted(style, self.synthesizer.objects(label, instance), space)

    @staticmethod
    def _size(label: IntArray) -> tuple[int, int]:
        if label.ndim != 2:
            raise LabelError(f"A layout is (H, W); an array of shape {label.shape} came.")
        return label.shape[0], label.shape[1]


def reduced(values: IntArray, scale: float) -> IntArray:
    """A map at a smaller scale: of each square of pixels one near its middle.

    Raises:
        ConfigError: The scale is not 1, 0.5, 0.25 or 0.125.
    """
    if scale not in SCALES:
        raise ConfigError(f"The scale is {scale:g}; give 1, 0.5, 0.25 or 0.125.")
    step = SCALES[scale]
    rows, columns = (min(step // 2, length - 1) for length in values.shape)
    return values[rows::step, columns::step]


# --------------------------------------------------------------------------------------------- what models are taken


def require_classes(space: LabelSpace | None) -> LabelSpace:
    """The classes of a model.

    Raises:
        ConfigError: It has none.
    """
    if space is None:
        raise ConfigError(
            "The editor paints layouts, but this model has no classes in its file: it was trained on pictures, not label maps. "
            "Give one that was trained on label maps; gesso info says what a model takes."
        )
    return space


def refuse_broken(model: Model, path: object) -> None:
    """See that a model can be edited with: that it has classes, and no weight that is not a number.

    Raises:
        GessoError: It has none, or some; the message names the first such tensor.
    """
    try:
        require_classes(model.info.label_space)
    except GessoError as error:
        raise ConfigError(f"{path}: {error}") from None
    networks = ((f"{n}.{key}", tensor) for n, net in model.networks.items() for key, tensor in net.state_dict().items())
    styles = ((f"styles.{key}", tensor) for key, tensor in model.styles.items())
    for name, tensor in (*networks, *styles):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ModelFileError(
                f"{path}: tensor {name} holds {count} of {tensor.numel()} values that are infinite or no numbers, so every "
                "photograph would be spoilt: training diverged, or the file is damaged. Use an earlier state of the run, or "
                "another copy."
            )


# -------------------------------------------------------------------------------------------------------- as files


def encode_png(picture: Picture, record: Mapping[str, Any] | None = None) -> bytes:
    """A picture as PNG, with its record in a text chunk, as `gesso.synthesis.synthesizer.save_png` writes it."""
    chunks = PngInfo()
    if record is not None:
        chunks.add_itxt(PNG_KEY, json.dumps(record))
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", pnginfo=chunks)
    return content.getvalue()


def encode_quickly(picture: Picture) -> bytes:
    """A picture (H, W, 3) uint8 as a PNG that is stored, not compressed: half a millisecond per 100,000 pixels at most."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each begins with the number of its filter: none
    rows[:, 1:] = picture.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 0)), (b"IEND", b""))
    return PNG_MAGIC + b"".join(map(_chunk, *zip(*parts, strict=True)))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
