"""The style of SPADE: one latent vector z for the whole picture (section 3, multi-modal synthesis).

z is drawn from a standard normal distribution, or read by the image encoder from a photograph, or chosen. `between` goes from one
z to another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gesso.errors import ModelFileError, StyleError
from gesso.model_info import StyleDescription
from gesso.networks.latent_grid import LatentGrid
from gesso.synthesis.inputs import Batch
from gesso.synthesis.kinds import Layout, StyleKind, Styles, Worn, one_each
from gesso.synthesis.refusals import refuse_foreign
from gesso.synthesis.style import LARGEST, Style, Vector
from gesso.synthesis.style_space import shortest

NO_ENCODER = (
    "A style was requested from a photograph, but this model has no image encoder to read it: train one with "
    "--style-encoder, or import latest_net_E.pth together with latest_net_G.pth. Without one, choose a seed."
)


def drawn(seed: int, count: int) -> npt.NDArray[np.float32]:
    """Draw z ~ N(0, 1), (count,), from a seed: the same on every device, whatever else is computed."""
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def between(first: Sequence[float], second: Sequence[float], t: float) -> Vector:
    """The z on the way from one (t = 0) to another (t = 1): its direction turns evenly, its length changes evenly.

    Random z of many numbers all have about the same length. A straight line between two of them leads through vectors a third
    shorter, as none drawn ever is. Where there is no direction to turn, the way is straight. Numbers that would leave the range
    of z, -10..10, as they can where some of both ends are at its edge, are cut.

    Raises:
        StyleError: The two differ in length, or t is outside 0..1.
    """
    if len(first) != len(second) or not 0 <= t <= 1:
        raise StyleError(
            f"Only vectors z of one model can be mixed, by 0..1; {len(first)} and {len(second)} numbers and {t} came."
        )
    if t in (0, 1):
        return tuple(map(float, second if t else first))
    a, b = (np.asarray(z, dtype=np.float64) for z in (first, second))
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    cosine = float(a @ b / (lengths[0] * lengths[1])) if all(lengths) else 1.0
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    if math.sin(angle) < 1e-6:  # the same direction, the opposite, or none
        return shortest((1 - t) * a + t * b)
    turned = (math.sin((1 - t) * angle) * a / lengths[0] + math.sin(t * angle) * b / lengths[1]) / math.sin(angle)
    return shortest((turned * ((1 - t) * lengths[0] + t * lengths[1])).clip(-LARGEST, LARGEST))


class LatentStyles(StyleKind):
    """The whole picture wears one z."""

    def dress(self, layouts: Batch, style: Styles, seed: int) -> list[Worn]:
        """One z per layout: (1, latent). The same seed gives every layout the same z."""
        styles = one_each(style, len(next(iter(layouts.values()))))
        return [Worn(torch.tensor([self.z(one, seed)], dtype=torch.float32), seed) for one in styles]

    def prepare(self, generator: nn.Module, worn: Worn) -> None:
        """Let the grid of z be what the model file says, not what the first layout left behind."""
        grid = self._model.info.networks["generator"].arguments.get("latent_grid")
        for layer in generator.modules():
            if isinstance(layer, LatentGrid):
                layer.grid = tuple(grid) if grid else None

    def z(self, style: Style, seed: int) -> Vector:
        """The z that was chosen, or that of the seed.

        Raises:
            StyleError: The style chooses something else, or a z of another length.
        """
        refuse_foreign(style, self._about)
        if style.z is None:
            return shortest(drawn(seed if style.seed is None else style.seed, self._about.channels))
        if len(style.z) != self._about.channels:
            raise StyleError(
                f"The z that was chosen has {len(style.z)} numbers; this model's has {self._about.channels}, so it is another "
                "model's. Choose a seed, a photograph (--style-image), or a picture that this model made (--style-file)."
            )
        return style.z

    def encode(self, photograph: Tensor, layout: Layout | None, seed: int | None) -> Style:
        """The encoder's mean; with a seed a z drawn around it, as the official code does. The layout does not matter.

        Raises:
            ModelFileError: The model has no encoder.
        """
        self.require_encoder()
        encoder = self._model.networks["encoder"]
        device = next(encoder.parameters()).device
        with torch.inference_mode():
            mean, logvar = (one[0].float().cpu().numpy() for one in encoder(photograph[None].to(device)))  # (latent,)
        z = mean if seed is None else mean + np.exp(logvar / 2) * drawn(seed, len(mean))
        if np.abs(z).max() > LARGEST:
            self._say(
                f"The encoder gives a z with numbers beyond {LARGEST:g}, which it was not trained for: they are cut."
            )
        return Style(z=shortest(z.clip(-LARGEST, LARGEST)))

    def require_encoder(self) -> None:
        """See that there is an image encoder.

        Raises:
            ModelFileError: There is none.
        """
        if "encoder" not in self._model.networks:
            raise ModelFileError(NO_ENCODER)

    @property
    def _about(self) -> StyleDescription:
        about = self._model.info.style
        assert about is not None, "a kind of style belongs to a style"
        return about
