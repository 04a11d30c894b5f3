"""What styles do to a model's pictures: how far results for one layout lie apart, and whether a photograph's own style helps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gesso.errors import DataError
from gesso.evaluate.diversity import Distance, LayoutDiversity, diversity, layout_diversity
from gesso.evaluate.features import check_pictures, to_tensor
from gesso.evaluate.measuring import Styled
from gesso.evaluate.numbers import ALONE, Sampling, mean_number
from gesso.evaluate.results import Number
from gesso.labels import ByteArray, IntArray

OF_ENCODERS = ("style_l1", "style_distance", "random_style_distance")
OF_CHANCE = ("diversity", "random_style_distance")
REMEMBERED = 16  # pictures: the results for one layout, and its photograph


class Remembering(nn.Module):
    """A network that computes each of the last pictures once: a distance is asked of the same ones pair by pair, class by class.

    Args:
        network: (B, 3, H, W) -> a list of maps (B, C, H, W); each picture by itself.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._known: OrderedDict[tuple[int, ...], list[Tensor]] = OrderedDict()

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the maps of the network."""
        each = [self._maps(image[None]) for image in images]
        return [torch.cat(maps) for maps in zip(*each, strict=True)]  # (B, C, H, W)

    def _maps(self, image: Tensor) -> list[Tensor]:
        key = (*image.shape, hash(image.cpu().numpy().tobytes()))
        if key not in self._known:
            self._known[key] = self.network(image)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]


class StyleMeasuring:
    """Measures the styles of one model, layout by layout.

    Args:
        distance: What tells two pictures apart; None where nothing does, and only L1 is measured.
        names: Of the classes; empty where layouts are pictures.
        device: Where the distance runs.
    """

    def __init__(self, distance: Distance | None, names: Sequence[str], device: str = "cpu") -> None:
        self._distance, self._names, self._device = distance, names, device
        self._layouts: list[LayoutDiversity] = []
        self._found: dict[str, list[float]] = {name: [] for name in OF_ENCODERS}

    def add_results(self, results: ByteArray, label: IntArray | None) -> None:
        """Results for one layout in different styles.

        Args:
            results: (S, H, W, 3) uint8, two or more.
            label: (H, W) class indices; None where the layout is a picture.

        Raises:
            DataError: They are no such pictures, or differ in size.
        """
        if self._distance is not None:
            classes = range(len(self._names))
            found = layout_diversity(results, self._distance, label, classes, self._device)
            self._layouts.append(found)

    def add_reconstruction(self, photograph: ByteArray, own: ByteArray, results: ByteArray) -> None:
        """A photograph, and what the model makes of its layout.

        Args:
            photograph: (H, W, 3) uint8.
            own: (H, W, 3) uint8, in the style that was encoded from the photograph.
            results: (S, H, W, 3) uint8, in random styles.

        Raises:
            DataError: They are no such pictures, or differ in size.
        """
        check_pictures(np.stack([photograph, own]), "a photograph and its reconstruction")
        self._found["style_l1"].append(float(np.abs(photograph.astype(np.float64) - own).mean() / 255))
        if self._distance is not None:
            apart = self._apart(photograph, np.stack([own, *results]))
            self._found["style_distance"].append(apart[0])
            self._found["random_style_distance"].append(float(np.mean(apart[1:])))

    def _apart(self, photograph: ByteArray, pictures: ByteArray) -> list[float]:
        assert self._distance is not None
        first, found = to_tensor(photograph[None]).to(self._device), []
        with torch.inference_mode():
            for picture in pictures:  # one by one: batches of LPIPS at large sizes do not fit
                found += self._distance(first, to_tensor(picture[None]).to(self._device)).double().cpu().tolist()
        if not np.isfinite(found).all():
            raise DataError("The distance to a photograph is not finite: the picture or the weights are damaged.")
        return found

    def styled(self, sampling: Sampling, remark: str = "") -> Styled:
        """The numbers so far; what was never added is not there.

        Args:
            sampling: Of the intervals.
            remark: What must be known of random styles, for the notes of their numbers.

        Raises:
            DataError: A distance is not finite.
        """
        found = self._styled(sampling)
        remarked = {
            name: number.model_copy(update={"note": "; ".join(filter(None, (number.note, remark)))})
            for name, number in found.numbers.items()
            if name in OF_CHANCE
        }
        return Styled({**found.numbers, **remarked}, found.missing, found.classes)

    def _styled(self, sampling: Sampling) -> Styled:
        found = {name: mean_number(np.array(values), sampling) for name, values in self._found.items() if values}
        numbers = {name: number for name, number in found.items() if number is not None}
        if not self._layouts:
            return Styled(numbers)
        assert self._distance is not None
        if len(self._layouts) == 1:
            only = self._layouts[0]
            numbers["diversity"] = Number(value=only.picture, note=ALONE)
            return Styled(numbers, classes={self._names[index]: value for index, value in only.classes.items()})
        spread = diversity(self._layouts, self._names, self._distance.name, sampling.resamples, sampling.seed)
        low, high = spread.picture.interval
        numbers["diversity"] = Number(value=spread.picture.value, low=low, high=high)
        return Styled(numbers, classes={name: value for name, (value, _) in spread.classes.items()})
