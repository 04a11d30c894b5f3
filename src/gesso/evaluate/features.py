"""Pictures to feature vectors: what reads them, one batch at a time, and where the vectors are kept.

A vector is a few kilobytes, a picture hundreds: the vectors of a whole set stay in memory, its pictures never do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from gesso.checkpoints import write_safely
from gesso.errors import DataError
from gesso.evaluate.intervals import Features
from gesso.labels import ByteArray
from gesso.synthesis.segmenter import weights_digest

LARGE = 2**30  # bytes of files whose reading is shown, as it may take longer than two seconds


class FeatureExtractor(Protocol):
    """What turns pictures into vectors."""

    @property
    def name(self) -> str:
        """The network and a digest of its weights: reports print it, and kept vectors go by it."""

    @property
    def dimension(self) -> int:
        """D, length of a vector."""

    def __call__(self, pictures: ByteArray) -> npt.NDArray[np.float32]:
        """(B, H, W, 3) uint8 -> (B, D)."""


class NetworkFeatures:
    """A network as a feature extractor.

    Args:
        network: (B, 3, H, W) in [-1, 1] -> (B, D); put on the device and into evaluation mode.
        title: What the network is: "Inception-v3 (FID)", "segmenter trained on camvid".
        dimension: D.
        device: Where it runs.
    """

    def __init__(self, network: nn.Module, title: str, dimension: int, device: str | torch.device = "cpu") -> None:
        self._network = network.to(device).eval()
        self._device = device
        self.name = f"{title} {weights_digest(network.state_dict())[:8]}"
        self.dimension = dimension

    def __call__(self, pictures: ByteArray) -> npt.NDArray[np.float32]:
        """(B, H, W, 3) uint8 -> (B, D) float32."""
        with torch.inference_mode():
            return self._network(to_tensor(pictures).to(self._device)).float().cpu().numpy()


def to_tensor(pictures: ByteArray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, 1).float() / 127.5 - 1.0


def check_pictures(pictures: npt.NDArray[Any], origin: str = "pictures") -> None:
    """Refuse what is no batch of photographs.

    Raises:
        DataError: The array is not (B, H, W, 3) uint8; floats that are not finite are told apart.
    """
    broken = "" if pictures.dtype.kind != "f" or np.isfinite(pictures).all() else ", some of them not finite (NaN)"
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise DataError(
            f"{origin} came as {pictures.dtype} of shape {pictures.shape}{broken}; what is measured is (B, H, W, 3) uint8, as "
            "the Synthesizer gives it."
        )


def check_features(features: Features, origin: str = "features") -> None:
    """Refuse vectors that no distance can be taken of.

    Raises:
        DataError: They are not (N, D), or some are not finite.
    """
    if features.ndim != 2:
        raise DataError(f"{origin} have shape {features.shape}; expected (pictures, dimension).")
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        raise DataError(
            f"{origin}: the vectors of {len(bad)} pictures are not finite, the first that of picture {bad[0] + 1}. The picture "
            "or the weights of the feature extractor are damaged."
        )


def extract(
    batches: Iterable[ByteArray], extractor: FeatureExtractor, origin: str = "pictures"
) -> npt.NDArray[np.float32]:
    """The vectors of all pictures, batch by batch.

    Args:
        batches: Pictures (B, H, W, 3) uint8; batches may differ in size.
        extractor: What reads them.
        origin: Named in errors.

    Returns:
        (N, D) float32.

    Raises:
        DataError: There is no picture, one is not uint8, or a vector is not finite.
    """
    rows = []
    for batch in batches:
        check_pictures(batch, origin)
        rows.append(np.asarray(extractor(batch), dtype=np.float32).reshape(len(batch), extractor.dimension))
    features = np.concatenate([np.zeros((0, extractor.dimension), np.float32), *rows])
    if not len(features):
        raise DataError(f"{origin}: there is no picture to measure.")
    check_features(features, origin)
    return features


def features_key(
    files: Sequence[Path], preprocessing: Mapping[str, Any], extractor: str, console: Console | None = None
) -> str:
    """What the vectors of a list of files go by: names and contents of the files, how they are read, and what reads them.

    Files are read as a whole, about a gigabyte a second: raw pictures that differ may have one size and one end.

    Args:
        files: In the order of their vectors.
        preprocessing: Whatever changes the pixels between file and extractor, as JSON.
        extractor: `FeatureExtractor.name`.
        console: Where progress is shown, of large data; None for silence.

    Raises:
        DataError: A file is missing.
    """
    digest = hashlib.sha256(json.dumps([extractor, preprocessing], sort_keys=True).encode())
    sizes = [_size(path) for path in files]
    columns = TextColumn("[bold]reading the files"), BarColumn(bar_width=30), DownloadColumn(), TimeRemainingColumn()
    quiet = console is None or not console.is_terminal or sum(sizes) < LARGE
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=sum(sizes))
        for path, size in zip(files, sizes, strict=True):
            digest.update(f"\n{path.name} {size} ".encode() + _content(path))
            bar.advance(task, size)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from None


def _content(path: Path) -> bytes:
    """SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"The picture {path} cannot be read: {error.strerror}.")


def kept_features(
    folder: Path, key: str, compute: Callable[[], npt.NDArray[np.float32]]
) -> tuple[npt.NDArray[np.float32], bool]:
    """The vectors that are kept under a key, or else computed and kept.

    A file that cannot be read, or holds other than finite vectors, is made anew.

    Args:
        folder: Of the kept vectors; made if it is not there.
        key: From `features_key`.
        compute: Gives (N, D).

    Returns:
        (N, D) float32, and whether they were kept already.

    Raises:
        TrainingError: The disk is full or refuses.
    """
    path = folder / f"{key}.safetensors"
    kept = _read(path)
    if kept is not None:
        return kept, True
    features = np.ascontiguousarray(compute(), dtype=np.float32)
    write_safely(path, lambda temporary: save_file({"features": features}, temporary))
    return features, False


def _read(path: Path) -> npt.NDArray[np.float32] | None:
    try:
        features: npt.NDArray[np.float32] = load_file(path)["features"]
        check_features(features)
    except (OSError, SafetensorError, KeyError, DataError):
        return None
    return features
