"""Which stylist goes with a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.object_stylist import ObjectStylist
from gesso.cli.style_flags import StyleFlags
from gesso.cli.stylist import ChanceStylist, Stylist
from gesso.cli.whole_stylists import LatentStylist, NoiseStylist

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.synthesis.synthesizer import Synthesizer


def open_stylist(synth: Synthesizer, flags: StyleFlags, layouts: SemanticDataset, console: Console) -> Stylist:
    """Read what the flags name, and see that the model and the layouts have it.

    Raises:
        StyleError: The model has no style, or not what was chosen; or no layout has an object that was chosen.
        ModelFileError: A photograph was given to a model without encoder.
        ConfigError: The flags contradict each other, for this kind of style.
        DataError: A photograph is missing or cannot be read.
    """
    if flags == StyleFlags():
        return ChanceStylist()
    kinds: dict[str | None, Any] = {"z": LatentStylist, "noise": NoiseStylist}
    if synth.style_kind not in kinds:
        synth.require_style()
    stylist: Stylist = kinds.get(synth.style_kind, ObjectStylist)(synth, flags, layouts, console)
    return stylist
