"""Photographs to class indices: what reads generated photographs back, and the files of segmenters that were trained here.

    PhotoSegmenter      the interface: photographs in, class indices of a label space out
    TrainedSegmenter    the compact U-Net of `gesso.networks.segmenter`, from a file
    save_segmenter      weights and what they say of themselves, as one safetensors
    load_segmenter      the file back, strictly

Segmenters from the Hugging Face hub are in `gesso.synthesis.hub_segmenter`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gesso.checkpoints import write_safely
from gesso.devices import choose_device
from gesso.errors import DataError, ModelFileError
from gesso.labels import ByteArray, LabelSpace
from gesso.networks.segmenter import Segmenter, SegmenterFeatures
from gesso.synthesis.inputs import pad

FORMAT_VERSION = 1
FIELD = "segmenter"  # one field of its own, so that nothing takes the file for a model file
NAME = "compact U-Net"
DAMAGED = "The file is damaged or was edited: use another copy, or train it again."


class SegmenterInfo(BaseModel):
    """What the file of a segmenter says of itself.

    Attributes:
        format_version: Of the file.
        gesso_version: What wrote it.
        label_space: The classes that it tells apart.
        width: Channels of the network's first level.
        steps: Training steps behind the weights.
        origin: What it learned from: "camvid train".
        photographs: How many it learned from.
        data_digest: Of their names and contents, the label space, the preprocessing and the settings of the training.
        size: (height, width) of the photographs in training.
        scores: Headline scores on held-out photographs, 0..1; empty where none were held out.
        held_out: How many those were.
        held_out_origin: What they are called: "camvid val".
        held_out_digest: Of their names and contents, the label space and the preprocessing.
        created: When the file was written, ISO 8601 in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    gesso_version: str = Field(default_factory=lambda: version("gesso"))
    label_space: LabelSpace
    width: int = Field(ge=1)
    steps: int = Field(ge=0)
    origin: str
    photographs: int = Field(0, ge=0)
    data_digest: str = ""
    size: tuple[int, int]
    scores: dict[str, float] = Field(default_factory=dict)
    held_out: int = Field(0, ge=0)
    held_out_origin: str = ""
    held_out_digest: str = ""
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class PhotoSegmenter(ABC):
    """Reads photographs: which class of a label space is where.

    Each photograph is read alone, so that what is found in it never depends on what else is in its batch.

    Attributes:
        name: What it is, with a digest of its weights, as reports print it.
        origin: What it learned from, or where it was published.
        label_space: The classes that it finds.
        hash: SHA-256 of its weights and of whatever else decides what it finds.
        info: Of segmenters that were trained here, what their file says; else None.
        uncovered: Names of classes that it can never find.
    """

    def __init__(
        self, name: str, origin: str, label_space: LabelSpace, hash: str, uncovered: tuple[str, ...] = ()
    ) -> None:
        self.name = f"{name} {hash[:8]}"
        self.origin = origin
        self.label_space = label_space
        self.hash = hash
        self.info: SegmenterInfo | None = None
        self.uncovered = uncovered

    def __call__(self, photographs: ByteArray) -> npt.NDArray[np.int32]:
        """Class indices of one photograph, or of several.

        Args:
            photographs: (H, W, 3) or (B, H, W, 3) uint8, of any size.

        Returns:
            (H, W) or (B, H, W): 0..C-1 in the order of the label space, C where nothing that it knows was found.

        Raises:
            DataError: They are not uint8, or of another shape.
        """
        if photographs.dtype != np.uint8 or photographs.ndim not in (3, 4) or photographs.shape[-1] != 3:
            raise DataError(
                f"A segmenter reads photographs (H, W, 3) or (B, H, W, 3) of uint8; these are {photographs.dtype} of shape "
                f"{photographs.shape}."
            )
        several = photographs[None] if photographs.ndim == 3 else photographs
        found = np.empty(several.shape[:3], dtype=np.int32)
        with torch.inference_mode():
            for number, photograph in enumerate(several):
                pixels = torch.from_numpy(np.ascontiguousarray(photograph)).movedim(-1, 0)  # (3, H, W)
                found[number] = self._read(pixels).cpu().numpy()
        return found[0] if photographs.ndim == 3 else found

    def features(self) -> tuple[nn.Module, int] | None:
        """A network (B, 3, H, W) in [-1, 1] -> (B, D) for distances between sets of pictures, and D; None where there is none."""
        return None

    @abstractmethod
    def _read(self, pixels: Tensor) -> Tensor:
        """(3, H, W) uint8 on the CPU -> (H, W) class indices."""


class TrainedSegmenter(PhotoSegmenter):
    """The compact U-Net that gesso trains itself.

    Args:
        network: Trained; put on the device and into evaluation mode, and frozen.
        info: What its file says.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: The device is not on this machine.
    """

    def __init__(self, network: Segmenter, info: SegmenterInfo, device: str = "cpu") -> None:
        origin = f"{info.origin}, {info.photographs} photographs" if info.photographs else info.origin
        digest = weights_digest(network.state_dict(), info.label_space.model_dump_json())
        super().__init__(f"{NAME} trained on {info.origin}", origin, info.label_space, digest)
        self.info = info
        self.device = choose_device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)

    def features(self) -> tuple[nn.Module, int]:
        """The averages of every level of its encoder, and how many numbers they are."""
        network = SegmenterFeatures(self.network.encoder)
        return network, network.dimension

    def _read(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        padded = pad(pixels, Segmenter.multiple, 1)
        image = padded.to(self.device).float().div_(127.5).sub_(1.0)
        scores = self.network(image[None])[0, :, :height, :width]  # (C, H, W)
        return scores.argmax(0)


def weights_digest(tensors: Mapping[str, Tensor], said: str = "") -> str:
    """SHA-256 over the names, types, shapes and bytes of tensors, and over what else is said."""
    digest = hashlib.sha256(said.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# -------------------------------------------------------------------------------------------------------------- files


def save_segmenter(path: str | Path, network: Segmenter, info: SegmenterInfo) -> None:
    """Write a segmenter with what it says of itself.

    Args:
        path: Where to; an existing file is replaced only when the new one is complete.
        network: Trained.
        info: Its description.

    Raises:
        TrainingError: The disk is full or refuses; nothing is changed then.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in network.state_dict().items()}
    metadata = {FIELD: info.model_dump_json()}
    write_safely(Path(path), lambda temporary: save_file(tensors, temporary, metadata=metadata))


def load_segmenter(path: str | Path, device: str = "cpu") -> TrainedSegmenter:
    """Read a segmenter, strictly.

    Args:
        path: A file that `save_segmenter` wrote.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ModelFileError: The file is missing, damaged, or something else, such as a gesso model file; the message says what.
        ConfigError: The device is not on this machine.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"There is no segmenter {path}. gesso evaluate --segmenter train --save-segmenter FILE trains one and keeps it."
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} cannot be read as safetensors ({error}): it is cut off, damaged, or another kind of file. Use another copy."
        ) from None
    info = _described(path, metadata)
    with torch.device("meta"):
        network = Segmenter(classes=len(info.label_space), width=info.width)
    _refuse_differences(path, network.state_dict(), tensors)
    if broken := [name for name, tensor in sorted(tensors.items()) if not tensor.isfinite().all()]:
        raise ModelFileError(
            f"{path} is a segmenter whose weights are not all numbers: {broken[0]} and {len(broken) - 1} other tensors hold NaN "
            f"or infinity, and it would find one class everywhere. {DAMAGED}"
        )
    network.load_state_dict(tensors, assign=True)
    return TrainedSegmenter(network, info, device)


def _described(path: Path, metadata: Mapping[str, str]) -> SegmenterInfo:
    if FIELD not in metadata:
        raise ModelFileError(
            f"{path} is a gesso model file, which makes photographs: gesso generate and gesso evaluate take it as MODEL. "
            "A segmenter reads photographs: --segmenter wants what gesso evaluate --save-segmenter wrote."
            if "format_version" in metadata
            else f"{path} is safetensors, but no segmenter of gesso: --segmenter wants what gesso evaluate --save-segmenter "
            "wrote, or a folder or name of the Hugging Face hub."
        )
    try:
        document: Any = json.loads(metadata[FIELD])
        written = document["format_version"]
        if isinstance(written, int) and written > FORMAT_VERSION:
            raise ModelFileError(
                f"{path} is a segmenter of format version {written}, this gesso reads up to {FORMAT_VERSION}: update gesso."
            )
        return SegmenterInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ModelFileError:
        raise
    except (ValueError, KeyError, TypeError):
        reason = "it is no JSON with a format_version"
    raise ModelFileError(f"{path}: what the segmenter says of itself cannot be read: {reason}. {DAMAGED}")


def _refuse_differences(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Names, shapes and types of the tensors must be those of the network that is described."""
    kinds = ({name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} for tensors in (wanted, found))
    ours, theirs = kinds
    if wrong := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        raise ModelFileError(
            f"{path} does not hold the tensors of the segmenter that it describes: {', '.join(wrong[:5])} missing, left over or "
            f"of another shape. {DAMAGED}"
        )
