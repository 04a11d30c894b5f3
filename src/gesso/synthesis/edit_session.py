"""Photographs while a layout is being edited: soon and nearly right, then exact.

A session renders a layout once and remembers what it computed; of edited layouts it computes only what the edit reaches, and says
by about how much that is off. When the hand rests, `EditingSession.render` gives the exact photograph, and tells how far the last
one before it was off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from gesso.errors import ConfigError, LabelError
from gesso.pictures import Picture, to_uint8
from gesso.synthesis.fast.edits import EditingPix2pixHD
from gesso.synthesis.fast.pix2pixhd import FastPix2pixHD
from gesso.synthesis.inputs import Batch
from gesso.synthesis.kinds import Worn
from gesso.synthesis.runtimes import Fast, Runtime, codes_or_picture
from gesso.synthesis.style import Style

if TYPE_CHECKING:
    from gesso.synthesis.synthesizer import Synthesizer

LEAST = 0.1  # levels: what the statistics of the outer layers move, which nobody follows
TOLERANCES = {"cached": 0.1, "renewed": 0.05}
LEVELS = 127.5  # of 8 bits, in a value of the network
MEAN = 0.8  # of the root mean square of an error that is normally distributed


@dataclass(frozen=True)
class Difference:
    """How far a photograph is from the exact one, in levels of 255, over all pixels and colours.

    Attributes:
        mean: Of absolute differences.
        largest: The largest of them.
    """

    mean: float
    largest: float


@dataclass(frozen=True)
class Edited:
    """A photograph of an edited layout.

    Attributes:
        picture: (H, W, 3) uint8.
        mode: What computed it: "cached" or "renewed"; "full" where it is exact, because there was nothing to go by, the edit
            reaches most of the picture, or the network has no way to compute parts.
        computed: Share of the work that was done: of the pixels ("cached"), or of the residual blocks ("renewed").
        estimate: How far it is off in levels of 255, on average over all pixels and colours: an estimate, no bound. Where
            something was edited single pixels may be off by tens of levels.
    """

    picture: Picture
    mode: Literal["cached", "renewed", "full"]
    computed: float
    estimate: float


class EditingSession:
    """One layout that is being edited; made by `Synthesizer.editing_session`.

    Not for several threads at once. It remembers one photograph, and goes on from there as long as size, style and seed leave
    most of what the network sees as it was; otherwise it renders all.

    Attributes:
        measured: How far the last edited photograph was off, once `render` was asked for the same one; else None.
    """

    def __init__(self, synthesizer: Synthesizer, runtime: Runtime) -> None:
        self._synthesizer, self._runtime = synthesizer, runtime
        engine = runtime.engine if isinstance(runtime, Fast) else None
        self._editing = EditingPix2pixHD(engine) if isinstance(engine, FastPix2pixHD) else None
        self._last: tuple[Batch, Worn, Picture] | None = None
        self.measured: Difference | None = None

    @property
    def partial(self) -> bool:
        """Whether there is a way to compute parts: for pix2pixHD's generators on the CPU, by the runtime torch."""
        return self._editing is not None

    @property
    def bytes(self) -> int:
        """Memory of what is remembered.

        For each residual block of the global network twice its features, the layout and the picture: 162 MiB for the published
        network at 1024x512.
        """
        kept = self._editing.kept if self._editing else None
        return kept.bytes if kept else 0

    def forget(self) -> None:
        """Give the memory back; the next photograph is computed as a whole."""
        self._last = None
        if self._editing:
            self._editing.kept = None

    def render(
        self,
        label: npt.ArrayLike,
        instance: npt.ArrayLike | None = None,
        style: Style | None = None,
        seed: int = 0,
    ) -> Picture:
        """The exact photograph (H, W, 3) uint8 of a layout (H, W), which is remembered.

        Arguments and errors are those of the Synthesizer.
        """
        inputs, worn, size = self._handed(label, instance, style, seed)
        picture = self._whole(inputs, worn)
        last, self._last, self.measured = self._last, None, None
        if last and _same(last[0], inputs) and _worn_alike(last[1], worn):
            self.measured = difference(last[2], picture)
        return picture[: size[0], : size[1]]

    def edited(
        self,
        label: npt.ArrayLike,
        instance: npt.ArrayLike | None = None,
        style: Style | None = None,
        seed: int = 0,
        mode: Literal["cached", "renewed"] = "cached",
        tolerance: float | None = None,
    ) -> Edited:
        """A photograph of a layout that differs little from the one that was rendered last, or of the same in another style.

        Args:
            label: (H, W) class indices.
            instance: (H, W) object ids, or None.
            style: As the Synthesizer takes it.
            seed: Of what the style leaves open.
            mode: "cached" computes what the edit reaches with the statistics of the whole picture as they were; "renewed" renews
                them, computes all but the residual blocks, and of these what moved by more than the tolerance.
            tolerance: How far features may move without being computed anew, as a share of their root mean square; by default 0.1
                and 0.05. At 0 "renewed" gives the exact photograph, and "cached" all that the edit reaches.

        Raises:
            GessoError: As the Synthesizer.
            ConfigError: There is no such mode, or the tolerance is below 0.
        """
        found = self.nearly(label, instance, style, seed, mode, tolerance)
        if found is not None:
            return found
        inputs, worn, size = self._handed(label, instance, style, seed)
        picture = self._whole(inputs, worn)
        return Edited(picture[: size[0], : size[1]], "full", 1.0, 0.0)

    def nearly(
        self,
        label: npt.ArrayLike,
        instance: npt.ArrayLike | None = None,
        style: Style | None = None,
        seed: int = 0,
        mode: Literal["cached", "renewed"] = "cached",
        tolerance: float | None = None,
    ) -> Edited | None:
        """Like `edited`, but None where that would compute the whole photograph."""
        tolerance = _checked(mode, tolerance)
        inputs, worn, size = self._handed(label, instance, style, seed)
        self._last = self.measured = None
        if self._editing is None or not isinstance(self._runtime, Fast):
            return None
        found = self._editing.edited(codes_or_picture(self._runtime.model, inputs), worn.tensor, mode, tolerance)
        if found is None:
            return None
        picture = to_uint8(found.picture)[0]
        self._last = inputs, worn, picture
        estimate = max(LEAST, MEAN * LEVELS * found.error) if found.computed else 0.0
        return Edited(picture[: size[0], : size[1]], mode, found.computed, estimate)

    def _handed(
        self, label: npt.ArrayLike, instance: npt.ArrayLike | None, style: Style | None, seed: int
    ) -> tuple[Batch, Worn, tuple[int, int]]:
        handed, size, single = self._synthesizer.hand(label, instance, style, seed)
        if not single:
            raise LabelError(f"One layout (H, W) is edited at a time; an array of shape {np.shape(label)} came.")
        return *handed[0], size

    def _whole(self, inputs: Batch, worn: Worn) -> Picture:
        """(H, W, 3) uint8, with the padding."""
        if self._editing is None or not isinstance(self._runtime, Fast):
            return self._synthesizer.photograph(inputs, worn)
        self._synthesizer.refuse_large(inputs, worn)
        return to_uint8(self._editing.render(codes_or_picture(self._runtime.model, inputs), worn.tensor))[0]


def _checked(mode: str, tolerance: float | None) -> float:
    if mode not in TOLERANCES:
        raise ConfigError(f"There is no mode {mode!r}; choose one of {', '.join(TOLERANCES)}.")
    if tolerance is not None and not tolerance >= 0:
        raise ConfigError(f"The tolerance is {tolerance}; give 0 or a small share such as 0.05.")
    return TOLERANCES[mode] if tolerance is None else tolerance


def _same(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _worn_alike(one: Worn, other: Worn) -> bool:
    if one.tensor is None or other.tensor is None:
        return one.tensor is other.tensor
    return torch.equal(one.tensor, other.tensor)


def difference(picture: Picture, exact: Picture) -> Difference:
    """How far one photograph (H, W, 3) is from another."""
    gaps = np.abs(picture.astype(np.int16) - exact)
    return Difference(float(gaps.mean()), float(gaps.max()))
