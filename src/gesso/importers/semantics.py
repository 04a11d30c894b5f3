"""What the channels of an official generator mean: classes, then instance boundaries, then style."""

from __future__ import annotations

from gesso.errors import ModelFileError
from gesso.importers.parts import Part
from gesso.labels import LabelSpace, Semantics


def find_semantics(
    generator: Part, style: int, space: LabelSpace | None, boundary: bool | None, dont_care: bool
) -> Semantics:
    """Explain every channel that a generator takes.

    Args:
        generator: The generator.
        style: Channels of the style; 0 without one.
        space: The classes; None for pictures.
        boundary: Whether there is a channel of instance boundaries; None to tell by the number of channels.
        dont_care: Whether there is a channel for ignored pixels.

    Raises:
        ModelFileError: Channels and label space do not fit; the message says what would.
    """
    path, takes = generator.path, generator.takes
    if space is None:
        if style or boundary or dont_care:
            raise ModelFileError(
                f"With --labels none {path} takes pictures, which have no style, boundaries or ignored pixels: leave out "
                "encoder, clusters, --boundary and --dont-care, or name the label space."
            )
        return Semantics(source_channels=takes)
    rest = takes - style - len(space) - dont_care
    if rest in ((0, 1) if boundary is None else (int(boundary),)):
        return Semantics(classes=len(space), dont_care=dont_care, boundary=rest == 1)
    raise ModelFileError(
        f"{path} takes {takes} channels, but {_given(space, style, boundary, dont_care)}. "
        f"{_advice(rest, takes, style, boundary, dont_care)}"
    )


def _given(space: LabelSpace, style: int, boundary: bool | None, dont_care: bool) -> str:
    whole = len(space) + dont_care + style
    parts = [f"{space.name} has {len(space)} classes"]
    parts += ["ignored pixels take 1"] if dont_care else []
    parts += [f"the style takes {style}"] if style else []
    parts += (
        [] if boundary is False else ["instance boundaries take 1" if boundary else "instance boundaries may take 1"]
    )
    wanted = f"{whole} or {whole + 1}" if boundary is None else str(whole + boundary)
    return f"{', '.join(parts)}: {wanted}"


def _advice(rest: int, takes: int, style: int, boundary: bool | None, dont_care: bool) -> str:
    found = []
    if boundary is False and rest == 1:
        found.append("leave out --no-boundary")
    if boundary and rest == 0:
        found.append("give --no-boundary instead of --boundary")
    if style and rest + style in (0, 1):
        found.append("leave out encoder and clusters, as this generator was trained without style")
    if not style and rest > 1:
        found.append(f"give the encoder (latest_net_E.pth) if {rest - 1} or {rest} channels are style")
    if not dont_care and rest in (1, 2):
        found.append("give --dont-care if ignored pixels had a channel of their own")
    if takes <= 4 and not style:
        found.append("give --labels none if it takes pictures")
    classes = takes - style - dont_care
    if classes > 1:
        found.append(
            f"name a label space of {classes - 1} classes (with boundaries) or {classes} (without) with --labels"
        )
    return f"What may help: {'; or '.join(found) or 'other files'}."
