"""The Synthesizer: loads a model file once, then turns layouts into photographs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from gesso.checkpoints import Model, ModelInfo, load_model, write_safely
from gesso.devices import choose_device
from gesso.errors import DataError, LabelError
from gesso.labels import LabelSpace, components
from gesso.pictures import Picture, to_uint8

PNG_KEY = "gesso"
_log = logging.getLogger(__name__)


class Synthesizer:
    """Turns layouts into photographs; made by `gesso.load`.

    Layouts of any size are accepted: they are padded by reflection at the right and the bottom to what the network can take, and
    the photograph is cropped back. At exact multiples of that size the output equals the network's own.

    Attributes:
        info: What the model file says of itself.
        hash: SHA-256 of its tensors and network arguments.
        device: Where it computes.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.info: ModelInfo = model.info
        self.hash = model.hash
        self.device = device
        self._generator = model.networks["generator"]
        self._multiple = int(getattr(self._generator, "multiple", 1))
        self._smallest = int(getattr(self._generator, "smallest", 1))
        self._said_components = False

    @property
    def label_space(self) -> LabelSpace | None:
        """The classes that layouts may hold; None when the input is a picture."""
        return self.info.label_space

    def __call__(
        self,
        labels: npt.ArrayLike,
        instances: npt.ArrayLike | None = None,
        style: None = None,
        seed: int = 0,
    ) -> Picture:
        """Photograph of a layout, or photographs of several.

        Args:
            labels: (H, W) or (B, H, W) class indices in the order of the label space, its length where ignored. For a
                photo-to-photo model: (H, W), (H, W, N) or (B, H, W, N) picture, integers over their whole range or floats 0..1.
            instances: Object ids of the same shape. Without them, models that know objects use connected components of the
                countable classes.
            style: For models with style; others take None.
            seed: Of what the layout leaves open; the same call gives the same photograph.

        Returns:
            (H, W, 3) or (B, H, W, 3) uint8.

        Raises:
            LabelError: An index is not in the label space, or shapes differ.
            DataError: The picture has another number of channels than the model takes.
        """
        if style is not None:
            raise LabelError("This model has no style: leave style=None. Train with instance features to get one.")
        batch, single = (
            self._pictures(labels) if self.info.semantics.source_channels else self._layouts(labels, instances)
        )
        height, width = next(iter(batch.values())).shape[-2:]
        padded = {key: self._pad(value) for key, value in batch.items()}
        with torch.inference_mode(), _own_randomness(self.device, seed):
            semantics = self.info.semantics.encode({key: value.to(self.device) for key, value in padded.items()})
            images = to_uint8(self._generator(semantics)[..., :height, :width])  # (B, H, W, 3)
        return images[0] if single else images

    def record(self, seed: int = 0) -> dict[str, Any]:
        """What a generated PNG carries, so that it can be made again."""
        return {"model": self.hash, "seed": seed, "style": None, "gesso_version": version("gesso")}

    def _layouts(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None) -> tuple[dict[str, Tensor], bool]:
        assert self.label_space is not None
        label = np.asarray(labels)
        if label.ndim not in (2, 3) or not label.size or not np.issubdtype(label.dtype, np.integer):
            raise LabelError(
                f"A layout is (H, W) or (B, H, W) integers; {label.dtype} of shape {label.shape} came. Read label files with "
                "gesso.data.readers.read_label."
            )
        stack = label[None] if label.ndim == 2 else label
        _check_indices(stack, self.label_space)
        batch = {"label": torch.from_numpy(stack.astype(np.int64))}
        if self.info.semantics.boundary:
            batch["instance"] = torch.from_numpy(self._instances(stack, instances, label.shape))
        return batch, label.ndim == 2

    def _instances(
        self, stack: npt.NDArray[Any], instances: npt.ArrayLike | None, shape: tuple[int, ...]
    ) -> npt.NDArray[np.int64]:
        if instances is not None:
            given = np.asarray(instances)
            if given.shape != shape:
                raise LabelError(
                    f"The instance map has shape {given.shape}, the label map {shape}: they must be equal."
                )
            return given.reshape(stack.shape).astype(np.int64)
        if not self._said_components:
            self._said_components = True
            _log.warning("No instance map was given: touching objects of a class count as one.")
        assert self.label_space is not None
        return np.stack([components(one, self.label_space) for one in stack]).astype(np.int64)

    def _pictures(self, pictures: npt.ArrayLike) -> tuple[dict[str, Tensor], bool]:
        channels = self.info.semantics.source_channels
        array = np.asarray(pictures)
        array = array[..., None] if array.ndim == 2 else array
        if array.ndim not in (3, 4) or array.shape[-1] != channels or not array.size:
            raise DataError(
                f"This model takes pictures (H, W, {channels}) or (B, H, W, {channels}); an array of shape "
                f"{np.shape(pictures)} came."
            )
        whole = np.issubdtype(array.dtype, np.integer)
        fraction = array / np.iinfo(array.dtype).max if whole else array.astype(np.float64)
        if not (fraction.min() >= 0 and fraction.max() <= 1):
            allowed = f"0..{np.iinfo(array.dtype).max}" if whole else "0..1"
            raise DataError(f"The picture holds {array.dtype} values {array.min()}..{array.max()}; allowed: {allowed}.")
        scaled = torch.from_numpy((fraction * 2 - 1).astype(np.float32))
        single = scaled.ndim == 3
        return {"source": (scaled[None] if single else scaled).movedim(-1, 1)}, single

    def _pad(self, values: Tensor) -> Tensor:
        """Reflect at the right and the bottom up to a size that the network takes."""
        height, width = (max(-(-n // self._multiple) * self._multiple, self._smallest) - n for n in values.shape[-2:])
        if not height and not width:
            return values
        edges = [(0, 0)] * (values.ndim - 2) + [(0, height), (0, width)]
        return torch.from_numpy(
            np.pad(values.numpy(), edges, mode="symmetric" if 1 in values.shape[-2:] else "reflect")
        )


@contextmanager
def _own_randomness(device: str, seed: int) -> Iterator[None]:
    """Random numbers from `seed` inside; the random state of CPU and device is afterwards as it was."""
    place = torch.device(device)
    others, kind = ([], "cuda") if place.type == "cpu" else ([place], place.type)  # the CPU's state is always kept
    with torch.random.fork_rng(others, device_type=kind):
        torch.default_generator.manual_seed(seed)
        if place.type == "cuda":
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        elif place.type == "mps":
            torch.mps.manual_seed(seed)
        yield


def load(model: str | Path, device: str = "auto") -> Synthesizer:
    """Load a model file.

    Args:
        model: A `.safetensors` written by gesso.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ModelFileError: The file is missing, damaged, or not a gesso model.
        ConfigError: The device is not on this machine.
    """
    chosen = choose_device(device)
    return Synthesizer(load_model(model, chosen), chosen)


def save_png(path: str | Path, image: Picture, record: Mapping[str, Any]) -> None:
    """Write a photograph as PNG with its record in a text chunk named "gesso".

    Raises:
        TrainingError: The disk is full or refuses; no half picture is left.
    """
    chunks = PngInfo()
    chunks.add_itxt(PNG_KEY, json.dumps(record))
    write_safely(Path(path), lambda temporary: Image.fromarray(image).save(temporary, "PNG", pnginfo=chunks))


def read_record(path: str | Path) -> dict[str, Any] | None:
    """The record of a generated PNG; None if it has none."""
    with Image.open(path) as image:
        text = image.info.get(PNG_KEY)
    return None if text is None else dict(json.loads(text))


def _check_indices(labels: npt.NDArray[Any], space: LabelSpace) -> None:
    wrong = (labels < 0) | (labels > len(space))
    if wrong.any():
        place = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise LabelError(
            f"Index {labels[place]} at {place[-2:]} (row, column) is not in {space.name}: its {len(space)} classes have indices "
            f"0..{len(space) - 1}, ignored pixels {len(space)}. File values become indices with LabelSpace.to_indices."
        )
