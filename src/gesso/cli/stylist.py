"""Which style each picture of `gesso generate` gets: what all kinds of style share, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError
from rich.console import Console

from gesso.cli.style_flags import Shot, StyleFlags
from gesso.errors import ConfigError, DataError, ModelFileError, StyleError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer


class Stylist(Protocol):
    """Which style each picture gets."""

    def styles(self, item: dict[str, Any], shots: Sequence[Shot]) -> list[Style | None]:
        """The style of each picture of a layout; None where nothing is chosen.

        Raises:
            StyleError: A choice does not fit the layout.
        """


class ChanceStylist:
    """Nothing is chosen."""

    def styles(self, item: dict[str, Any], shots: Sequence[Shot]) -> list[Style | None]:
        """None for each picture."""
        return [None] * len(shots)


def refuse_flags(synth: Synthesizer, flags: StyleFlags, *names: str) -> None:
    """Refuse flags that mean nothing to a model's kind of style.

    Raises:
        StyleError: One of them was given.
    """
    from gesso.synthesis.refusals import ADVICE, described

    about, plain = synth.info.style, StyleFlags()
    assert about is not None, "without style there is nothing to choose"
    for name in names:
        if (value := getattr(flags, name)) != getattr(plain, name):
            flag = "no-noise" if name == "noise" and not value else name.replace("_", "-")
            raise StyleError(f"--{flag} was given, but this model's style is {described(about)}. {ADVICE[about.kind]}")


def refuse_contradictions(flags: StyleFlags, one_of_several: str) -> None:
    """Refuse flags that a model's kind of style knows, but not together.

    Args:
        flags: Without those that mean nothing to the kind: `refuse_flags` comes first, lest people be told to add such a flag.
        one_of_several: What to do with two whole styles.

    Raises:
        ConfigError: They contradict each other.
    """
    if len(flags.sources) > 1:
        raise ConfigError(f"{' and '.join(flags.sources)} each give a whole style: {one_of_several}")
    if (flags.style_labels and not flags.style_image) or (flags.style_instances and not flags.style_labels):
        raise ConfigError("--style-instances belongs to --style-labels, and both to --style-image: give that too.")
    if flags.steps is not None and not flags.interpolate:
        raise ConfigError("--steps counts the pictures of --interpolate A B: give that too.")


@contextmanager
def named(origin: str) -> Iterator[None]:
    """Let errors about a style that does not fit the model name where it came from: a flag and its value."""
    try:
        yield
    except StyleError as error:
        raise StyleError(f"{origin}: {error}") from None


def refuse_bare(layouts: SemanticDataset, flags: StyleFlags) -> None:
    """See that there is a photograph of each layout, if their styles are wanted.

    Raises:
        DataError: One has none.
    """
    if flags.style_from_photographs and (bare := [s.name for s in layouts.samples if not s.image]):
        raise DataError(
            f"--style-from-photographs needs a photograph of each layout; {len(bare)} have none, the first is "
            f"{bare[0]}. Name their folder with --images, or use --style-image."
        )


def trained_preprocessing(synth: Synthesizer) -> Preprocessing:
    """How training brought pictures to size.

    Raises:
        ModelFileError: The model file does not say it in a way that is understood.
    """
    from gesso.data.preprocessing import Preprocessing

    try:
        return Preprocessing.model_validate(synth.info.preprocessing)
    except ValidationError as error:
        raise ModelFileError(f"The model file's preprocessing is not understood: {error.errors()[0]['msg']}.") from None


def sized_as_trained(synth: Synthesizer) -> Preprocessing:
    """How layouts are brought to the size of training.

    Raises:
        ModelFileError: The model file does not say it in a way that is understood.
    """
    return trained_preprocessing(synth).without_training


def maps_of(item: dict[str, Any]) -> tuple[Any, Any]:
    """Label map and, where there is one, instance map of a sample or batch, as arrays."""
    return item["label"].numpy(), item["instance"].numpy() if "instance" in item else None


def show(layouts: SemanticDataset, photograph: Path | None) -> SemanticDataset:
    """The layouts with another photograph, if one is given."""
    from gesso.data.dataset import SemanticDataset

    if not photograph:
        return layouts
    samples = [replace(sample, image=photograph, half="") for sample in layouts.samples]
    return SemanticDataset(samples, layouts.space, layouts.preprocessing, training=False, instances=layouts.instances)


def read_chosen(path: Path, synth: Synthesizer, console: Console) -> Style:
    """A style from JSON or a generated PNG; says so where that was made by another model, or with other statistics."""
    from gesso.synthesis.synthesizer import read_record, read_style

    style = read_style(path)
    record = read_record(path) if path.suffix.lower() == ".png" else None
    if record and record.get("model") != synth.hash:
        said = f"{path} was made by another model: its style may mean other things here."
        console.print(said, soft_wrap=True, markup=False)
    if record and record.get("statistics") != synth.statistics:
        other = record.get("statistics")
        make = f"with --statistics {other}" if other else "without --statistics"
        console.print(f"{path} was made {make}: only so does it come out the same.", soft_wrap=True, markup=False)
    return style
