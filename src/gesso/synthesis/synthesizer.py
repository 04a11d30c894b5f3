"""The Synthesizer: loads a model file once, then turns layouts into photographs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from gesso.checkpoints import Model, load_model, write_safely
from gesso.devices import refuse_large_forward
from gesso.errors import LabelError, StyleError
from gesso.labels import LabelSpace
from gesso.model_info import ModelInfo
from gesso.pictures import Picture
from gesso.synthesis.features import ObjectKey
from gesso.synthesis.inputs import Batch, pad, read_layouts, read_photograph, read_pictures, refuse_seed
from gesso.synthesis.kinds import Layout, StyleKind, Styles, Worn
from gesso.synthesis.latents import LatentStyles
from gesso.synthesis.noise import NoiseStyles, override_statistics
from gesso.synthesis.object_styles import ObjectStyles
from gesso.synthesis.runtimes import DEFAULT, open_runtime, runtime_device, tiled_device
from gesso.synthesis.style import Style, Vector, class_index
from gesso.synthesis.style_space import ClassModes, StyleSpace, Vectors, objects_of

if TYPE_CHECKING:
    from gesso.synthesis.edit_session import EditingSession

KINDS: dict[str | None, type[StyleKind]] = {
    None: StyleKind,
    "features": ObjectStyles,
    "z": LatentStyles,
    "noise": NoiseStyles,
}
PNG_KEY = "gesso"
_log = logging.getLogger(__name__)


class Synthesizer:
    """Turns layouts into photographs; made by `gesso.load`.

    Of several layouts each is computed alone: sums over a whole batch round otherwise, so that a photograph would depend on what
    else is in its batch, and its record could not reproduce it.

    Layouts of any size are accepted: they are padded by reflection at the right and the bottom to what the network can take, and
    the photograph is cropped back. At exact multiples of that size the output equals the network's own.

    Attributes:
        info: What the model file says of itself.
        hash: SHA-256 of its tensors and network arguments.
        device: Where it computes.
        multiple: Height and width are padded to multiples of this; at such sizes the photograph is the network's own.
        style_kind: "features" (pix2pixHD: a vector per object or class), "z" (SPADE: one vector for the whole picture), "noise"
            (pix2pix: chance alone), or None for a model without style.
        style_space: What styles single objects can wear: vectors per object or class, and the modes of each class; None where
            objects have no style of their own.
        statistics: What batch norm takes, "picture" or "running", where that is not what the model file says; else None.
        runtime: What computes: "torch", "plain", "compile", "onnx", "openvino" or "openvino-int8".
    """

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        statistics: str | None = None,
        runtime: str = DEFAULT,
        path: Path | None = None,
        tiles: int | None = None,
    ) -> None:
        self.info: ModelInfo = model.info
        self.hash = model.hash
        self.device = device
        self.style_kind: str | None = model.info.style.kind if model.info.style else None
        self.statistics = override_statistics(model, statistics)
        self._said: set[str] = set()
        self._kind: StyleKind = KINDS[self.style_kind](model, self._say)
        self.style_space: StyleSpace | None = self._kind.space
        self._model = model
        if tiles is not None:
            tiled_device(runtime, device, tiles)
        self._tiled = tiles is not None
        self._runtime = open_runtime(runtime, model, self.statistics, path, tiles)
        self.runtime = runtime
        self._generator = model.networks["generator"]
        self.multiple = int(getattr(self._generator, "multiple", 1))
        self._smallest = int(getattr(self._generator, "smallest", 1))
        self._single = (
            getattr(self._generator, "norm", "") != "instance"
        )  # SPADE's, which would have one pixel to begin with

    @property
    def weights(self) -> int:
        """How many numbers the generator has."""
        return sum(parameter.numel() for parameter in self._generator.parameters())

    @property
    def label_space(self) -> LabelSpace | None:
        """The classes that layouts may hold; None when the input is a picture."""
        return self.info.label_space

    @property
    def needs_instances(self) -> bool:
        """Whether an instance map changes the photograph: it is drawn into the input, or each object has a style."""
        style = self.style_space
        return self.info.semantics.boundary or (style is not None and style.regions == "instance")

    def __call__(
        self,
        labels: npt.ArrayLike,
        instances: npt.ArrayLike | None = None,
        style: Styles = None,
        seed: int = 0,
    ) -> Picture:
        """Photograph of a layout, or photographs of several.

        Args:
            labels: (H, W) or (B, H, W) class indices in the order of the label space, its length where ignored. For a
                photo-to-photo model: (H, W), (H, W, N) or (B, H, W, N) picture, integers over their whole range or floats 0..1.
            instances: Object ids of the same shape. Without them, models that know objects use connected components of the
                countable classes.
            style: One style, or one per layout. In a single style for several layouts an object is chosen for where it is there.
                None, or what a style leaves open, is drawn at random. Models without style take None.
            seed: Of what the layout leaves open, 0..2^63 - 1; the same call gives the same photograph. Of several layouts each is
                drawn from the same seed, so that it looks as it does alone.

        Returns:
            (H, W, 3) or (B, H, W, 3) uint8.

        Raises:
            LabelError: An index is not in the label space, shapes differ, or the instance map disagrees with the label map.
            StyleError: The model has no style, or not the class, mode or object that was chosen.
            DataError: The picture has another number of channels than the model takes.
            ConfigError: The seed is out of range, or it needs more memory than is free.
        """
        handed, (height, width), single = self.hand(labels, instances, style, seed)
        images = [self.photograph(inputs, worn) for inputs, worn in handed]
        cropped = np.stack(images)[:, :height, :width]
        return cropped[0] if single else cropped

    def hand(
        self,
        labels: npt.ArrayLike,
        instances: npt.ArrayLike | None = None,
        style: Styles = None,
        seed: int = 0,
    ) -> tuple[list[tuple[Batch, Worn]], tuple[int, int], bool]:
        """What a runtime is handed to make photographs of; arguments and errors are those of a call.

        Returns:
            For each layout a batch of one, padded to what the network takes, and what it wears; the height and width before; and
            whether a single layout came.
        """
        refuse_seed(seed)
        if channels := self.info.semantics.source_channels:
            batch, single = read_pictures(labels, channels)
        else:
            batch, single = self._layouts(labels, instances)
        height, width = next(iter(batch.values())).shape[-2:]
        padded = {key: self._pad(value) for key, value in batch.items()}
        each = enumerate(self._kind.dress(padded, style, seed))
        handed = [({key: value[n : n + 1] for key, value in padded.items()}, worn) for n, worn in each]
        return handed, (height, width), single

    def photograph(self, padded: Batch, worn: Worn) -> Picture:
        """Photograph (H, W, 3) uint8 of one layout as `hand` gives it.

        Raises:
            ConfigError: It needs more memory than is free.
        """
        self.refuse_large(padded, worn)
        inputs = {key: value.to(self.device) for key, value in padded.items()}
        self._kind.prepare(self._generator, worn)
        with torch.inference_mode(), _own_randomness(self.device, worn.seed):
            return self._runtime(inputs, worn)[0]

    def refuse_large(self, padded: Batch, worn: Worn) -> None:
        """See that a layout as `hand` gives it fits into memory, before the system kills the process.

        Raises:
            ConfigError: It does not.
        """
        height, width = next(iter(padded.values())).shape[-2:]
        shapes: list[tuple[int, ...]] = [(1, self.info.semantics.channels, height, width)]
        shapes += [] if worn.tensor is None else [tuple(worn.tensor.shape)]
        if not self._tiled:
            refuse_large_forward(self._generator, shapes, self.device)

    def editing_session(self) -> EditingSession:
        """A session for a layout that is being edited: it computes only what an edit reaches."""
        from gesso.synthesis.edit_session import EditingSession

        return EditingSession(self, self._runtime)

    def record(self, seed: int = 0, style: Style | None = None) -> dict[str, Any]:
        """What a generated PNG carries, so that it can be made again."""
        chosen = None if style is None else style.model_dump(mode="json")
        made = {"model": self.hash, "seed": seed, "style": chosen, "gesso_version": version("gesso")}
        made |= {"statistics": self.statistics} if self.statistics else {}
        return {**made, **self._runtime.record}

    # ---------------------------------------------------------------------------------------------------------- styles

    def objects(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None = None) -> list[ObjectKey]:
        """What has a style of its own in a layout (H, W): (class, id), or (class, class) where a class shares one.

        `style_space.name` tells what an object is called in styles.

        Raises:
            LabelError: As for a photograph.
            StyleError: Objects have no style of their own.
        """
        regions = self.require_style().regions
        return objects_of(*self._layout(labels, instances), regions)

    def resolve(
        self,
        labels: npt.ArrayLike,
        instances: npt.ArrayLike | None = None,
        style: Style | None = None,
        seed: int = 0,
    ) -> Vectors:
        """The feature vector that each object of a layout (H, W) wears, by (class, id).

        `style_space.style` makes a style of the result that holds every vector as it is.

        Raises:
            LabelError: As for a photograph.
            StyleError: As for a photograph.
            ConfigError: The seed is out of range.
        """
        refuse_seed(seed)
        self.require_style()
        return self._kind.resolve(self._layout(labels, instances), style or Style(), seed)

    def z(self, style: Style | None = None, seed: int = 0) -> Vector:
        """The latent vector that a style means to SPADE: what it holds, or what its seed draws; `Style(z=...)` holds it.

        Raises:
            StyleError: The model has no such vector, or not what was chosen.
            ConfigError: The seed is out of range.
        """
        refuse_seed(seed)
        return self._kind.z(style or Style(), seed)

    def encode(
        self,
        image: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        instances: npt.ArrayLike | None = None,
        *,
        seed: int | None = None,
    ) -> Style:
        """The style of a photograph: the features of each of its objects, for its own layout; or its z, for any.

        Args:
            image: (H, W, 3) uint8. For z of any size: as in training the encoder resizes it to its square, without regard to its
                aspect ratio. Far larger ones are best brought to the size of training first.
            labels: (H, W) class indices of what is to be seen; not needed for z.
            instances: (H, W) object ids; without them connected components of the countable classes.
            seed: For z: draw it from the distribution that the encoder gives, as the official code does; None takes the mean.

        Raises:
            ModelFileError: The model has no encoder.
            StyleError: A photograph says nothing about this kind of style.
            LabelError: The sizes differ, or as for a photograph.
            DataError: The image is no (H, W, 3) uint8.
            ConfigError: The seed is out of range, or there is nothing to draw.
        """
        self._kind.require_encoder()
        if seed is not None:
            refuse_seed(seed)
        layout = None if labels is None or self.style_space is None else self._layout(labels, instances)
        return self._kind.encode(read_photograph(image), layout, seed)

    def class_means(self, image: npt.ArrayLike, labels: npt.ArrayLike, instances: npt.ArrayLike | None = None) -> Style:
        """The style of a photograph, for other layouts: per class the mean of its features, over all of its pixels.

        Arguments and errors are those of `encode`. Classes that the photograph does not show stay open.
        """
        self.require_style()
        self._kind.require_encoder()
        return self._kind.class_means(read_photograph(image), self._layout(labels, instances))

    def modes(self, class_name: str) -> ClassModes:
        """The modes of a class: vectors (K, F), sizes and thumbnails; K is 0 where the model file has no clusters of it.

        Raises:
            StyleError: Objects have no style of their own, or there is no such class.
        """
        space = self.require_style()
        none = ClassModes(np.zeros((0, space.channels), dtype=np.float32))
        return space.modes.get(class_index(class_name, space.labels), none)

    def require_style(self) -> StyleSpace:
        """What styles single objects can wear.

        Raises:
            StyleError: None: the model has no style, or one of the whole picture.
        """
        if self.style_space is None:
            raise self._kind.refusal()
        return self.style_space

    def require_encoder(self) -> None:
        """See that styles can be read from photographs.

        Raises:
            ModelFileError: The model has no encoder.
            StyleError: A photograph says nothing about this kind of style.
        """
        self._kind.require_encoder()

    # -------------------------------------------------------------------------------------------------------- in detail

    def _say(self, message: str) -> None:
        """Log a warning, once."""
        if message not in self._said:
            self._said.add(message)
            _log.warning(message)

    def _pad(self, values: Tensor) -> Tensor:
        return pad(values, self.multiple, self._smallest, self._single)

    def _layouts(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None) -> tuple[Batch, bool]:
        assert self.label_space is not None
        return read_layouts(labels, instances, self.label_space, self.needs_instances, self._say)

    def _layout(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None) -> Layout:
        """One layout: label map and, where it matters, instance map, (H, W) int64."""
        batch, single = self._layouts(labels, instances)
        if not single:
            raise LabelError(f"One layout (H, W) is wanted here; {tuple(batch['label'].shape)} came. Ask one by one.")
        return batch["label"][0], batch["instance"][0] if "instance" in batch else None


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


def load(
    model: str | Path,
    device: str = "auto",
    statistics: str | None = None,
    runtime: str = DEFAULT,
    tiles: int | None = None,
) -> Synthesizer:
    """Load a model file.

    Args:
        model: A `.safetensors` written by gesso.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        statistics: What batch norm of pix2pix takes: the statistics of each "picture", or the "running" ones of training. None
            is what the model file says.
        runtime: What computes: "torch", "plain", "compile", "onnx", "openvino" or "openvino-int8", as
            `gesso.synthesis.runtimes` tells.
        tiles: For layouts that are too large for memory: how many rows of a photograph are computed at once, with what lies
            between the layers in temporary files; None for all. On the CPU, by the runtime "torch", for pix2pixHD and SPADE.

    Raises:
        ModelFileError: The file is missing, damaged, or not a gesso model.
        ConfigError: The device is not on this machine, the model has no such statistics, the runtime is not installed, or there
            is no way to compute tiles.
    """
    chosen = runtime_device(runtime, device) if tiles is None else tiled_device(runtime, device, tiles)
    return Synthesizer(load_model(model, chosen), chosen, statistics, runtime, Path(model), tiles)


def save_png(path: str | Path, image: Picture, record: Mapping[str, Any]) -> None:
    """Write a photograph as PNG with its record in a text chunk named "gesso".

    Raises:
        TrainingError: The disk is full or refuses; no half picture is left.
    """
    chunks = PngInfo()
    chunks.add_itxt(PNG_KEY, json.dumps(record))
    write_safely(Path(path), lambda temporary: Image.fromarray(image).save(temporary, "PNG", pnginfo=chunks))


def read_record(path: str | Path) -> dict[str, Any] | None:
    """The record of a generated PNG; None if it has none.

    Raises:
        OSError: The file is missing or is no picture.
        StyleError: Its text chunk is not what gesso writes.
    """
    with Image.open(path) as image:
        text = image.info.get(PNG_KEY)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise StyleError(
            f'The text chunk "{PNG_KEY}" of {path} is not what gesso writes: {str(text)[:40]!r} came, an object in JSON is '
            "wanted. Give a picture as gesso wrote it, or a style in JSON."
        )
    return record


def read_style(path: str | Path) -> Style:
    """A style from JSON, or from a generated PNG; of the latter with the seed of its random draws.

    Raises:
        StyleError: The file is neither, or the picture was not generated by gesso.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        return Style.load(path)
    try:
        record = read_record(path)
    except StyleError:
        raise
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise StyleError(
            f"Cannot read a style from {path}: {error}. Give a generated PNG or a style in JSON."
        ) from None
    if record is None:
        raise StyleError(
            f"{path} was not generated by gesso, or its text chunks are lost: it carries no style. Where the model has an "
            "encoder, --style-image or Synthesizer.encode take the style of a photograph."
        )
    style = {} if record.get("style") is None else record["style"]
    if isinstance(style, dict) and style.get("seed") is None:
        style = {**style, "seed": record.get("seed")}
    return Style.parse(style, f"style in {path}")
