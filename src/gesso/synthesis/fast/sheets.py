"""Pictures that lie on the disk, and are computed some rows at a time.

Large ones are files without a name, which the system removes when they are closed, however the process ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from gesso.errors import ConfigError
from gesso.synthesis.fast.norms import Affine, Norm, statistics
from gesso.synthesis.fast.windows import Size, Step, Window

SMALL = 16 * 2**20  # bytes of a picture that stays in memory


class Rows(Protocol):
    """A picture (H, W, C) whose rows can be asked for."""

    size: Size

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom - 1, (bottom - top, W, C); the caller's own."""
        ...


class Sheet:
    """A picture of float32, (H, W, C), in memory or on the disk.

    Args:
        size: Height and width.
        channels: Of each pixel.
        files: Closes the file at the end, if not before.
    """

    def __init__(self, size: Size, channels: int, files: ExitStack) -> None:
        self.size, self.channels = size, channels
        self._row = size[1] * channels * 4  # bytes
        self._file: BinaryIO | None = None
        self._memory: Tensor | None = None
        if size[0] * self._row <= SMALL:
            self._memory = torch.empty(*size, channels)
        else:
            self._file = files.enter_context(tempfile.TemporaryFile(prefix="gesso-", buffering=0))

    def write(self, top: int, pixels: Tensor) -> None:
        """Fill rows from `top` on with (h, W, C).

        Raises:
            ConfigError: The disk is full.
        """
        if self._memory is not None:
            self._memory[top : top + len(pixels)] = pixels
            return
        assert self._file is not None
        left = pixels.contiguous().numpy().data.cast("B")
        try:
            self._file.seek(top * self._row)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise ConfigError(
                f"Tiles keep what they compute in {tempfile.gettempdir()}, and a file there could not be written ({error}). Make "
                "room, or name another folder in the environment variable TMPDIR."
            ) from None

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom - 1, (bottom - top, W, C)."""
        if self._memory is not None:
            return self._memory[top:bottom].clone()
        assert self._file is not None
        found = torch.empty(bottom - top, self.size[1], self.channels)
        left = found.numpy().data.cast("B")
        self._file.seek(top * self._row)
        while left:
            count = self._file.readinto(left)  # type: ignore[attr-defined]
            assert count, "the file is shorter than what was written"
            left = left[count:]
        return found

    def close(self) -> None:
        """Give memory or file back; what it held is lost."""
        self._memory = None
        if self._file is not None:
            self._file.close()


class Normalised:
    """A picture that is normalised, and perhaps rectified, when it is read."""

    def __init__(self, sheet: Sheet, affine: Affine, rectify: bool) -> None:
        self.sheet, self.affine, self.rectify, self.size = sheet, affine, rectify, sheet.size

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top..bottom - 1, (bottom - top, W, C)."""
        found = self.sheet.read(top, bottom)
        self.affine.apply_(found.view(-1, found.shape[2]), self.rectify)
        return found

    def close(self) -> None:
        """Give memory or file back."""
        self.sheet.close()


class Sums:
    """Mean and variance of pixels that come in parts (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.variance = torch.zeros(1, dtype=torch.float64)

    def add(self, pixels: Tensor) -> None:
        """Pixels (h, W, C)."""
        rows = pixels.reshape(-1, pixels.shape[2])
        mean, variance = statistics(rows)
        total = self.count + len(rows)
        share = len(rows) / total
        distance = mean - self.mean
        self.variance = (1 - share) * self.variance + share * variance + share * (1 - share) * distance.square()
        self.mean = self.mean + share * distance
        self.count = total


class Desk:
    """Where pictures lie while a photograph is computed, and how many of its rows are computed at once.

    Args:
        height: Of the photograph.
        rows: Of the photograph at once; of smaller pictures accordingly fewer.
    """

    def __init__(self, height: int, rows: int) -> None:
        self._height, self._rows = height, rows
        self._files = ExitStack()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def sheet(self, size: Size, channels: int) -> Sheet:
        """A new picture of any content."""
        return Sheet(size, channels, self._files)

    def strips(self, size: Size) -> Iterator[Window]:
        """Parts of a picture that are computed one after the other."""
        rows = max(1, self._rows * size[0] // self._height)
        for top in range(0, size[0], rows):
            yield Window(top, min(top + rows, size[0]), 0, size[1])

    def swept(self, step: Step, source: Rows, channels: int, sums: Sums | None = None) -> Sheet:
        """What a layer gives, and its sums."""
        out = self.sheet(step.size(source.size), channels)
        for part in self.strips(out.size):
            seen = step.needs(part, source.size)
            found = step(source.read(*seen.rows), seen, part).contiguous()
            out.write(part.top, found)
            if sums is not None:
                sums.add(found)
        return out

    def normalised(self, step: Step, norm: Norm, source: Rows, channels: int, rectify: bool = True) -> Normalised:
        """What a layer gives, to be normalised by the statistics of all of it."""
        sums = Sums()
        found = self.swept(step, source, channels, None if norm.fixed else sums)
        return Normalised(found, norm.of_statistics(sums.mean, sums.variance), rectify)

    def added(self, parts: Sequence[Rows], channels: int) -> Sheet:
        """The sum of pictures."""
        out = self.sheet(parts[0].size, channels)
        for part in self.strips(out.size):
            found = parts[0].read(*part.rows)
            for other in parts[1:]:
                found += other.read(*part.rows)
            out.write(part.top, found)
        return out


def temporary_bytes() -> int:
    """Room on the disk where temporary files lie."""
    found = os.statvfs(tempfile.gettempdir()) if hasattr(os, "statvfs") else None
    return found.f_bavail * found.f_frsize if found else 2**62
