"""Kinds of style: what each lets people choose, and what it hands to the generator besides the semantics.

Every kind is a class with the methods of `StyleKind`, which is that of a model without style:

- `gesso.synthesis.object_styles`: features, a vector per object or class (pix2pixHD);
- `gesso.synthesis.latents`: z, one vector for the whole picture (SPADE);
- `gesso.synthesis.noise`: nothing but chance (pix2pix).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from gesso.checkpoints import Model
from gesso.errors import StyleError
from gesso.synthesis.inputs import Batch
from gesso.synthesis.refusals import ADVICE, NONE, described
from gesso.synthesis.style import Style, Vector

if TYPE_CHECKING:
    from gesso.synthesis.features import ObjectKey
    from gesso.synthesis.style_space import StyleSpace

Layout = tuple[Tensor, Tensor | None]  # label map and, where it matters, instance map, (H, W) int64
Styles = Style | Sequence[Style] | None


@dataclass(frozen=True)
class Worn:
    """What one layout wears.

    Attributes:
        tensor: What the generator is handed besides the semantics, (1, ...); None for nothing.
        seed: Of what the generator draws by itself.
        noise: Whether it draws: dropout.
    """

    tensor: Tensor | None
    seed: int
    noise: bool = False


class StyleKind:
    """What a model leaves open, and how that is chosen; this one leaves nothing open.

    Attributes:
        space: What single objects can wear; None where objects have no style of their own.
    """

    space: StyleSpace | None = None

    def __init__(self, model: Model, say: Callable[[str], None]) -> None:
        """Take what a model file holds of styles; `say` is told warnings."""
        self._model, self._say = model, say

    def dress(self, layouts: Batch, style: Styles, seed: int) -> list[Worn]:
        """What each layout of a batch wears.

        Args:
            layouts: "label" (B, H, W) and perhaps "instance", or "source" (B, N, H, W), of the size that the generator sees.
            style: One style, or one per layout; None leaves all to chance.
            seed: Of the draws, where a style has none.

        Returns:
            What each layout wears, in their order.

        Raises:
            StyleError: The model does not know what was chosen.
        """
        if style is not None:
            raise self.refusal()
        return [Worn(None, seed)] * len(next(iter(layouts.values())))

    def prepare(self, generator: nn.Module, worn: Worn) -> None:
        """Set what the generator has to know, before it computes photographs that wear something."""

    def resolve(self, layout: Layout, style: Style, seed: int) -> dict[ObjectKey, Vector]:
        """The vector that each object of a layout wears.

        Raises:
            StyleError: Objects have no style of their own, or the model does not know what was chosen.
        """
        raise self.refusal()

    def z(self, style: Style, seed: int) -> Vector:
        """The latent vector that a style means.

        Raises:
            StyleError: The model has no such vector, or does not know what was chosen.
        """
        raise self.refusal()

    def encode(self, photograph: Tensor, layout: Layout | None, seed: int | None) -> Style:
        """The style of a photograph (3, H, W) in [-1, 1]; of its layout too where objects have styles of their own.

        Raises:
            ModelFileError: The model has no encoder.
            StyleError: A photograph cannot say anything about this kind of style, or a layout is missing.
        """
        self.require_encoder()
        raise self.refusal()

    def class_means(self, photograph: Tensor, layout: Layout) -> Style:
        """The style of a photograph (3, H, W) in [-1, 1], class by class.

        Raises:
            ModelFileError: The model has no encoder.
            StyleError: Classes have no style of their own.
        """
        raise self.refusal()

    def require_encoder(self) -> None:
        """See that styles can be read from photographs.

        Raises:
            ModelFileError: The model has no encoder.
            StyleError: A photograph cannot say anything about this kind of style.
        """
        from gesso.synthesis.styles import require_encoder

        require_encoder(self._model)

    def refusal(self) -> StyleError:
        """The error about something that this kind of style does not have."""
        about = self._model.info.style
        return StyleError(f"This model's style is {described(about)}. {ADVICE[about.kind]}" if about else NONE)


def one_each(style: Styles, layouts: int) -> list[Style]:
    """One style per layout: the same for all, or as many as there are.

    Raises:
        StyleError: Another number came, or something else.
    """
    if style is None or isinstance(style, Style):
        return [style or Style()] * layouts
    styles = [style] if isinstance(style, str | bytes) or not isinstance(style, Sequence) else list(style)
    if len(styles) != layouts or not all(isinstance(one, Style) for one in styles):
        kinds = ", ".join(sorted({type(one).__name__ for one in styles})) or "nothing"
        raise StyleError(
            f"{len(styles)} of type {kinds} came as style for {layouts} layouts; give one gesso.Style, or one per "
            "layout. gesso.synthesis.style.parse_style reads text such as car=3, Style.load a file."
        )
    return styles
