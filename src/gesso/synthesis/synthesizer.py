"""The Synthesizer: loads a model file once, then turns layouts into photographs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
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

from gesso.checkpoints import Model, load_model, write_safely
from gesso.devices import choose_device, refuse_large_forward
from gesso.errors import LabelError, StyleError
from gesso.labels import LabelSpace
from gesso.model_info import ModelInfo
from gesso.pictures import Picture, to_uint8
from gesso.synthesis.features import ObjectFeatures, ObjectKey, encode_objects, feature_map
from gesso.synthesis.inputs import Batch, pad, read_layouts, read_photograph, read_pictures, refuse_seed
from gesso.synthesis.style import Style, Vector, class_index
from gesso.synthesis.style_space import (
    COMPUTE,
    ClassModes,
    StyleSpace,
    Vectors,
    fitted,
    leaves_open,
    objects_of,
    refuse_unknown,
    resolve,
    shortest,
    some,
    style_space,
)
from gesso.synthesis.styles import require_encoder

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
        style_space: What styles the model can wear: vectors per object or class, and the modes of each class; None for a model
            without style.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.info: ModelInfo = model.info
        self.hash = model.hash
        self.device = device
        self.style_space: StyleSpace | None = style_space(model)
        self._model = model
        self._generator = model.networks["generator"]
        self._multiple = int(getattr(self._generator, "multiple", 1))
        self._smallest = int(getattr(self._generator, "smallest", 1))
        self._said: set[str] = set()

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
        style: Style | Sequence[Style] | None = None,
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
            seed: Of what the layout leaves open, 0..2^63 - 1; the same call gives the same photograph.

        Returns:
            (H, W, 3) or (B, H, W, 3) uint8.

        Raises:
            LabelError: An index is not in the label space, shapes differ, or the instance map disagrees with the label map.
            StyleError: The model has no style, or not the class, mode or object that was chosen.
            DataError: The picture has another number of channels than the model takes.
            ConfigError: The seed is out of range, or it needs more memory than is free.
        """
        refuse_seed(seed)
        space = self.style_space if style is None else self.require_style()
        if channels := self.info.semantics.source_channels:
            batch, single = read_pictures(labels, channels)
        else:
            batch, single = self._layouts(labels, instances)
        if space:
            batch["style"] = self._style_maps(batch, style, seed, space)
        height, width = next(iter(batch.values())).shape[-2:]
        padded = {key: pad(value, self._multiple, self._smallest).to(self.device) for key, value in batch.items()}
        self._refuse_too_large(padded)
        with torch.inference_mode(), _own_randomness(self.device, seed):
            semantics = self.info.semantics.encode(padded)
            style_map = [padded["style"]] if "style" in padded else []
            images = to_uint8(self._generator(semantics, *style_map)[..., :height, :width])  # (B, H, W, 3)
        return images[0] if single else images

    def record(self, seed: int = 0, style: Style | None = None) -> dict[str, Any]:
        """What a generated PNG carries, so that it can be made again."""
        chosen = None if style is None else style.model_dump(mode="json")
        return {"model": self.hash, "seed": seed, "style": chosen, "gesso_version": version("gesso")}

    # ---------------------------------------------------------------------------------------------------------- styles

    def objects(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None = None) -> list[ObjectKey]:
        """What has a style of its own in a layout (H, W): (class, id), or (class, class) where a class shares one.

        `style_space.name` tells what an object is called in styles.

        Raises:
            LabelError: As for a photograph.
            StyleError: The model has no style.
        """
        label, instance = self._layout(labels, instances)
        return objects_of(label, instance, self.require_style().regions)

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
        space = self.require_style()
        label, instance = self._layout(labels, instances)
        return self._resolved(style or Style(), objects_of(label, instance, space.regions), space, seed)

    def encode(self, image: npt.ArrayLike, labels: npt.ArrayLike, instances: npt.ArrayLike | None = None) -> Style:
        """The style of a photograph, for its own layout: the features of each of its objects.

        Args:
            image: (H, W, 3) uint8.
            labels: (H, W) class indices of what is to be seen.
            instances: (H, W) object ids; without them connected components of the countable classes.

        Raises:
            ModelFileError: The model has no encoder.
            LabelError: The sizes differ, or as for a photograph.
            DataError: The image is no (H, W, 3) uint8.
        """
        features = self._features(image, labels, instances)
        vectors = {key: shortest(v) for key, v in zip(features.keys, features.vectors, strict=True)}
        return self.require_style().style(vectors)

    def class_means(self, image: npt.ArrayLike, labels: npt.ArrayLike, instances: npt.ArrayLike | None = None) -> Style:
        """The style of a photograph, for other layouts: per class the mean of its features, over all of its pixels.

        Arguments and errors are those of `encode`. Classes that the photograph does not show stay open.
        """
        space, features = self.require_style(), self._features(image, labels, instances)
        means: dict[str, Vector] = {}
        for index in np.unique(features.classes).tolist():
            mine = features.where(features.classes == index)
            mean = np.average(mine.vectors.astype(np.float64), axis=0, weights=mine.areas)
            means[space.class_name(index)] = shortest(mean)
        return Style(classes=means)

    def modes(self, class_name: str) -> ClassModes:
        """The modes of a class: vectors (K, F), sizes and thumbnails; K is 0 where the model file has no clusters of it.

        Raises:
            StyleError: The model has no style, or no such class.
        """
        space = self.require_style()
        none = ClassModes(np.zeros((0, space.channels), dtype=np.float32))
        return space.modes.get(class_index(class_name, space.labels), none)

    def require_style(self) -> StyleSpace:
        """What styles the model can wear.

        Raises:
            StyleError: None: it has no style.
        """
        if self.style_space is None:
            raise StyleError(
                "This model has no style, so no style can be chosen: leave it out. Train with --instance-features or "
                "--label-features to get one."
            )
        return self.style_space

    def require_encoder(self) -> None:
        """See that styles can be read from photographs.

        Raises:
            ModelFileError: The model has no encoder.
        """
        require_encoder(self._model)

    # -------------------------------------------------------------------------------------------------------- in detail

    def _say(self, message: str) -> None:
        """Log a warning, once."""
        if message not in self._said:
            self._said.add(message)
            _log.warning(message)

    def _refuse_too_large(self, batch: Batch) -> None:
        """What does not fit into memory is refused before the system kills the process."""
        shape = next(iter(batch.values())).shape
        channels = [self.info.semantics.channels, *([batch["style"].shape[1]] if "style" in batch else [])]
        shapes = [(shape[0], count, *shape[-2:]) for count in channels]
        refuse_large_forward(self._generator, shapes, self.device)

    def _layouts(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None) -> tuple[Batch, bool]:
        assert self.label_space is not None
        return read_layouts(labels, instances, self.label_space, self.needs_instances, self._say)

    def _layout(self, labels: npt.ArrayLike, instances: npt.ArrayLike | None) -> tuple[Tensor, Tensor | None]:
        """One layout: label map and, where it matters, instance map, (H, W) int64."""
        self.require_style()
        batch, single = self._layouts(labels, instances)
        if not single:
            raise LabelError(f"One layout (H, W) is wanted here; {tuple(batch['label'].shape)} came. Ask one by one.")
        return batch["label"][0], batch["instance"][0] if "instance" in batch else None

    def _features(self, image: npt.ArrayLike, labels: npt.ArrayLike, instances: npt.ArrayLike | None) -> ObjectFeatures:
        encoder, regions = require_encoder(self._model)
        label, instance = self._layout(labels, instances)
        return encode_objects(encoder, read_photograph(image), label, instance, regions)

    def _style_maps(self, batch: Batch, style: Style | Sequence[Style] | None, seed: int, space: StyleSpace) -> Tensor:
        """(B, F, H, W): every pixel holds the vector of its object."""
        labels = list(batch["label"])
        instances = list(batch["instance"]) if "instance" in batch else [None] * len(labels)
        objects = [objects_of(*maps, space.regions) for maps in zip(labels, instances, strict=True)]
        styles = _one_each(Style() if style is None else style, objects, space)
        vectors = [self._resolved(one, there, space, seed) for one, there in zip(styles, objects, strict=True)]
        maps = zip(vectors, labels, instances, strict=True)
        return torch.stack([feature_map(*one, space.regions, space.channels) for one in maps])

    def _resolved(self, style: Style, objects: Sequence[ObjectKey], space: StyleSpace, seed: int) -> Vectors:
        vectors = resolve(style, objects, space, seed)
        if max((abs(n) for vector in vectors.values() for n in vector), default=0) > 1:
            self._say("A style vector has numbers outside -1..1, where no encoder's features lie: expect exaggeration.")
        if leaves_open(style, objects, space):
            bare = [name for index, name in enumerate(space.labels.names) if index not in space.modes]
            which = some(bare) if space.modes else "any class"
            self._say(
                f"The model file has no clusters of {which}: the middle of the range stands in for a random style. {COMPUTE}."
            )
        return vectors


def _one_each(style: Style | Sequence[Style], objects: Sequence[Sequence[ObjectKey]], space: StyleSpace) -> list[Style]:
    """One style per layout, without choices for objects of other layouts where a single style serves all."""
    if isinstance(style, Style):
        refuse_unknown(style, objects, space)
        return [fitted(style, there, space) for there in objects]
    styles = [style] if isinstance(style, str | bytes) or not isinstance(style, Sequence) else list(style)
    if len(styles) != len(objects) or not all(isinstance(one, Style) for one in styles):
        kinds = ", ".join(sorted({type(one).__name__ for one in styles})) or "nothing"
        raise StyleError(
            f"{len(styles)} of type {kinds} came as style for {len(objects)} layouts; give one gesso.Style, or one per "
            "layout. gesso.synthesis.style.parse_style reads text such as car=3, Style.load a file."
        )
    return styles


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
    except (OSError, ValueError) as error:
        raise StyleError(
            f"Cannot read a style from {path}: {error}. Give a generated PNG or a style in JSON."
        ) from None
    if record is None:
        raise StyleError(
            f"{path} was not generated by gesso, or its text chunks are lost: it carries no style. To take the style of a "
            "photograph, use its features (--style-image, or Synthesizer.encode)."
        )
    style = Style.parse(record.get("style") or {}, f"style in {path}")
    return style if style.seed is not None else style.model_copy(update={"seed": record.get("seed")})
