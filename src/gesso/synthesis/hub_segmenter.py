"""Segmenters of the Hugging Face hub, or from a folder that holds one: SegFormer, UperNet, Mask2Former.

Photographs are brought to a network as its own preprocessor_config.json says (size, resampling, mean and deviation), but not by
transformers' image processors, which need torchvision. Its classes become those of a label space by their names
(`gesso.synthesis.hub_classes`).

    Preprocessor        a photograph as the network wants it
    class_scores        what the network gives, as scores per class and pixel
    HubSegmenter        all of it, behind the interface of `gesso.synthesis.segmenter`
    load_hub_segmenter  by name or folder
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.devices import choose_device
from gesso.errors import ConfigError, WeightsError
from gesso.labels import LabelSpace
from gesso.synthesis.hub_classes import match_classes, read_mapping
from gesso.synthesis.segmenter import PhotoSegmenter, weights_digest

CONFIGURED = "preprocessor_config.json"
KINDS = {  # transformers' model_type -> the class that loads it
    "segformer": "AutoModelForSemanticSegmentation",
    "upernet": "AutoModelForSemanticSegmentation",
    "mask2former": "AutoModelForUniversalSegmentation",
}
FILTERS = {2: Image.Resampling.BILINEAR, 3: Image.Resampling.BICUBIC}
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessor:
    """A photograph as the network wants it.

    Attributes:
        size: (height, width); or (shorter side, longest that the other may become, or None); or None to keep its size.
        keep_aspect: Whether `size` is of the second kind.
        divisor: Both sides are rounded up to a multiple of this.
        resampling: Pillow's filter.
        factor: What pixels 0..255 are multiplied by.
        mean: Of each channel, subtracted then.
        deviation: Of each channel, divided by then.
    """

    size: tuple[int, int | None] | None
    keep_aspect: bool = False
    divisor: int = 1
    resampling: Image.Resampling = Image.Resampling.BILINEAR
    factor: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION

    @classmethod
    def parse(cls, document: Mapping[str, Any], kind: str, origin: str) -> Preprocessor:
        """What a preprocessor_config.json says; what it leaves out is as transformers has it for that kind of network.

        Args:
            document: Of the file.
            kind: transformers' model_type.
            origin: Named in errors.

        Raises:
            ConfigError: It asks for what is not done here.
        """
        try:
            size, keep_aspect = _size(document, kind)
            resampling = FILTERS[document.get("resample", 2)]
            mean, deviation = (
                tuple(float(v) for v in document.get(key, usual))
                for key, usual in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_DEVIATION))
            )
            factor = float(document.get("rescale_factor", 1 / 255)) if document.get("do_rescale", True) else 1.0
            divisor = int(document.get("size_divisor", 32) or 1) if kind == "mask2former" else 1
            _refuse_impossible(size, divisor, mean, deviation, factor)
            if document.get("do_center_crop"):
                raise ValueError("a central crop")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"{origin} asks for what gesso does not do ({type(error).__name__}: {error}): it takes a size (height and "
                "width, or shortest_edge) of 1 or more, bilinear (2) or bicubic (3) as resample, three numbers as image_mean, "
                "and three above 0 as image_std. Mend a copy of it in a folder."
            ) from None
        if not document.get("do_normalize", True):
            mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return cls(size, keep_aspect, divisor, resampling, factor, mean, deviation)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which a photograph of this size reaches the network."""
        if self.size is None:
            return height, width
        high, wide = self._scaled(height, width) if self.keep_aspect else (self.size[0], self.size[1] or self.size[0])
        return -(-high // self.divisor) * self.divisor, -(-wide // self.divisor) * self.divisor

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        """The shorter side as asked for, unless the other would become too long; both rounded as transformers does."""
        assert self.size
        shorter, longest = self.size
        small, large = min(height, width), max(height, width)
        exact: float = shorter
        if longest is not None and large / small * shorter > longest:
            exact = longest * small / large
        short = round(exact)
        other = large if small == short else int(exact * large / small)
        short, other = max(short, 1), max(other, 1)  # of a photograph that is a thin line
        return (short, other) if height <= width else (other, short)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(3, H, W) uint8 -> (1, 3, h, w) float32."""
        high, wide = self.target(*pixels.shape[-2:])
        if (high, wide) != pixels.shape[-2:]:
            picture = Image.fromarray(np.ascontiguousarray(pixels.movedim(0, -1).numpy()))
            pixels = torch.from_numpy(np.array(picture.resize((wide, high), self.resampling))).movedim(-1, 0)
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.deviation))
        return ((pixels.float() * self.factor - mean) / deviation)[None]


def _refuse_impossible(
    size: tuple[int, int | None] | None,
    divisor: int,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    factor: float,
) -> None:
    """See that photographs can be brought to a size and a range.

    Raises:
        ValueError: They cannot.
    """
    if any(side is not None and side < 1 for side in size or ()):
        raise ValueError(f"size {size} must be 1 or more")
    if divisor < 1:
        raise ValueError(f"size_divisor {divisor} must be 0, for none, or more")
    if len(mean) != 3 or not all(map(math.isfinite, mean)):
        raise ValueError(f"image_mean {list(mean)} must be three numbers")
    if len(deviation) != 3 or not all(math.isfinite(part) and part > 0 for part in deviation):
        raise ValueError(f"image_std {list(deviation)} must be three numbers above 0")
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"rescale_factor {factor} must be a number above 0")


def _size(document: Mapping[str, Any], kind: str) -> tuple[tuple[int, int | None] | None, bool]:
    """The size that is asked for, and whether it keeps the aspect ratio; one number alone means what it means to the network."""
    if not document.get("do_resize", True):
        return None, False
    usual = {"shortest_edge": 800, "longest_edge": 1333} if kind == "mask2former" else {"height": 512, "width": 512}
    size = document.get("size", usual)
    if isinstance(size, int):
        if kind != "mask2former":
            return (size, size), False
        size = {"shortest_edge": size, "longest_edge": document.get("max_size", 1333)}
    if "shortest_edge" in size:
        longest = size.get("longest_edge")
        return (int(size["shortest_edge"]), None if longest is None else int(longest)), True
    return (int(size["height"]), int(size["width"])), False


def class_scores(output: Any, size: tuple[int, int]) -> Tensor:
    """Scores per class and pixel from what a network of transformers gives.

    SegFormer and UperNet give them. Mask2Former gives N masks, each with the chances of its being of a class; a pixel's score for
    a class is the sum over the masks of both chances (arXiv 2107.06278, section 3.4: semantic inference).

    Args:
        output: With `logits` (B, C, h, w); or `class_queries_logits` (B, N, C + 1) and `masks_queries_logits` (B, N, h, w).
        size: (H, W) that the network saw.

    Returns:
        (B, C, h, w) or (B, C, H, W).
    """
    if not hasattr(output, "masks_queries_logits"):
        scores: Tensor = output.logits
        return scores
    chances = output.class_queries_logits.softmax(-1)[..., :-1]  # without "no object"
    masks = F.interpolate(output.masks_queries_logits, size, mode="bilinear", align_corners=False).sigmoid()
    return torch.einsum("bnc,bnhw->bchw", chances, masks)


# ---------------------------------------------------------------------------------------------------------- segmenter


class HubSegmenter(PhotoSegmenter):
    """A network of transformers.

    Args:
        network: Put on the device and into evaluation mode, and frozen.
        preprocessor: Of the network.
        space: The label space.
        classes: Index in the label space by number of the network's class.
        name: Of the network, on the hub or of its folder.
        kind: transformers' model_type.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessor: Preprocessor,
        space: LabelSpace,
        classes: Mapping[int, int],
        *,
        name: str,
        kind: str,
        device: str = "cpu",
    ) -> None:
        said = json.dumps([repr(preprocessor), sorted(classes.items()), space.model_dump(mode="json")])
        uncovered = tuple(c for index, c in enumerate(space.names) if index not in classes.values())
        digest = weights_digest(network.state_dict(), said)
        super().__init__(f"{name} ({kind})", f"Hugging Face hub: {name}", space, digest, uncovered)
        self.device = choose_device(device)
        self.preprocessor = preprocessor
        self._network = network.to(self.device).eval().requires_grad_(False)
        table = torch.full((max(classes) + 1,), len(space))
        table[list(classes)] = torch.tensor(list(classes.values()))
        self._table = table.to(self.device)

    def _read(self, pixels: Tensor) -> Tensor:
        image = self.preprocessor(pixels).to(self.device)
        scores = class_scores(self._network(pixel_values=image), (image.shape[-2], image.shape[-1]))
        scores = F.interpolate(scores.float(), tuple(pixels.shape[-2:]), mode="bilinear", align_corners=False)
        theirs = scores[0].argmax(0)
        beyond = theirs >= len(self._table)  # classes with greater numbers than any that is known
        return self._table[theirs.clamp(max=len(self._table) - 1)].masked_fill(beyond, len(self.label_space))


def load_hub_segmenter(
    name: str | Path, space: LabelSpace, *, mapping: Path | None = None, device: str = "cpu"
) -> HubSegmenter:
    """A segmenter of the Hugging Face hub, or from a folder in its format; needs transformers.

    Args:
        name: On the hub, "nvidia/segformer-b0-finetuned-cityscapes-512-1024"; or a folder with config.json, weights and
            preprocessor_config.json.
        space: The label space whose classes are wanted.
        mapping: A JSON file {"class of the segmenter": "class of the label space" or null} for names that differ.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: transformers is not installed, the network is none of the known kinds, its classes do not fit, or the device
            is not there.
        WeightsError: It is not there, cannot be fetched, or is not complete.
    """
    told = read_mapping(mapping) if mapping else {}
    try:
        transformers: Any = importlib.import_module(
            "transformers"
        )  # by name: it is large, and mypy would read all of it
    except ImportError:
        raise ConfigError(
            f'The segmenter {name} needs transformers: pip install "gesso[eval]". Without it: --segmenter train.'
        ) from None
    config = _load(transformers.AutoConfig, name)
    kind = str(config.model_type)
    if kind not in KINDS:
        raise ConfigError(
            f"{name} is a {kind or 'network without model_type'}; gesso knows {', '.join(KINDS)}. Choose one of these, "
            "or --segmenter train."
        )
    names = {int(number): str(label) for number, label in config.id2label.items()}
    classes = match_classes(names, space, told, str(mapping))
    preprocessor = Preprocessor.parse(_configured(transformers, name), kind, f"{CONFIGURED} of {name}")
    with _quiet(transformers.utils.logging):
        network, report = _load(getattr(transformers, KINDS[kind]), name, config=config, output_loading_info=True)
    if lacking := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise WeightsError(
            f"{name} does not hold all weights of a segmenter ({lacking[0]} and {len(lacking) - 1} more are missing or of "
            "another shape): it is a backbone without its head, or cut off. Choose a fine-tuned segmenter."
        )
    if broken := [key for key, tensor in network.state_dict().items() if not tensor.isfinite().all()]:
        raise WeightsError(
            f"{name} has weights that are not all numbers ({broken[0]} and {len(broken) - 1} other tensors hold NaN or "
            "infinity): it would find one class everywhere. Use another copy."
        )
    return HubSegmenter(network, preprocessor, space, classes, name=_called(name), kind=kind, device=device)


@contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """Without tables of missing and unused weights: what is missing is an error here, and what is unused does no harm."""
    before = log.get_verbosity()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(before)


def _load(loader: Any, name: str | Path, **arguments: Any) -> Any:
    try:
        return loader.from_pretrained(str(name), **arguments)
    except Exception as error:  # whatever the hub, its files and its parsers raise
        lines = [line for line in str(error).splitlines() if line.strip()]
        where = (
            "in that folder" if Path(name).is_dir() else "in a folder of that name, in the hub's cache, or on the hub"
        )
        raise WeightsError(
            f"There is no segmenter {name} {where} that can be read ({type(error).__name__}: {lines[0] if lines else error}). "
            "Give a folder that holds config.json, the weights and preprocessor_config.json, or train one: --segmenter train."
        ) from None


def _configured(transformers: Any, name: str | Path) -> dict[str, Any]:
    """The content of preprocessor_config.json.

    Raises:
        WeightsError: It is missing, or no JSON.
    """
    try:
        document = json.loads(Path(transformers.utils.cached_file(str(name), CONFIGURED)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{name} has no {CONFIGURED} that can be read ({reason}); it says at which size and of which range the network takes "
            "photographs."
        ) from None
    return dict(document)


def _called(name: str | Path) -> str:
    """A folder goes by its own name: where it lies differs between machines."""
    return Path(name).resolve().name if Path(name).is_dir() else str(name)
