"""What the channels of an official generator mean: classes, ignored pixels, then instance boundaries, then style."""

from __future__ import annotations

from gesso.errors import ModelFileError
from gesso.importers.parts import Part
from gesso.labels import LabelSpace, Semantics

PAINTED = 3  # channels of a label map in colours


def find_semantics(
    generator: Part, style: int, space: LabelSpace | None, boundary: bool | None, dont_care: bool | None
) -> Semantics:
    """Explain every channel that a generator takes.

    Args:
        generator: The generator.
        style: Channels of the style that stand beside the layout's; 0 without any.
        space: The classes; None for pictures.
        boundary: Whether there is a channel of instance boundaries; None to tell by the number of channels; in pix2pix's, which
            knows no boundaries, there is none then.
        dont_care: Whether there is a channel for ignored pixels; None for the usual of that code: in SPADE's there is one where
            the label space ignores values, if channels allow.

    Three channels of pix2pix are a label map in colours unless `boundary` or `dont_care` say something of channels per class.

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
    plain = generator.paper == "pix2pix"  # its label maps are pictures, and it knows no boundaries
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in space.colours)
    painted = Semantics(classes=len(space), colours=colours)
    if plain and takes == PAINTED and boundary is None and dont_care is None:
        return painted
    assumed = False if plain and boundary is None else boundary
    usual = [True, False] if generator.paper == "spade" and space.ignore else [False]
    for cared in usual if dont_care is None else [dont_care]:
        rest = takes - style - len(space) - cared
        if rest in ((0, 1) if assumed is None else (int(assumed),)):
            return Semantics(classes=len(space), dont_care=cared, boundary=rest == 1)
    if plain and takes == PAINTED and not (boundary or dont_care):
        return painted
    raise ModelFileError(
        f"{path} takes {takes} channels, but {_given(space, style, assumed, cared)}. "
        f"{_advice(rest, takes, style, boundary, cared, plain=plain, may_have_style=generator.paper == 'pix2pixhd')}"
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


def _advice(
    rest: int, takes: int, style: int, boundary: bool | None, dont_care: bool, *, plain: bool, may_have_style: bool
) -> str:
    found = []
    if plain and boundary is None and rest == 1:
        found.append("give --boundary if instance boundaries had a channel")
    if boundary is False and rest == 1:
        found.append("leave out --no-boundary")
    if boundary and rest == 0:
        found.append("give --no-boundary instead of --boundary")
    if style and rest + style in (0, 1):
        found.append("leave out encoder and clusters, as this generator was trained without style")
    if not style and rest > 1 and may_have_style:
        found.append(f"give the encoder (latest_net_E.pth) if {rest - 1} or {rest} channels are style")
    if not dont_care and rest in (1, 2):
        found.append("give --dont-care if ignored pixels had a channel of their own")
    if takes <= 4 and not style:
        found.append("give --labels none if it takes pictures")
    classes = takes - style - dont_care
    if classes > 1:
        found.append(
            f"name a label space of {classes} classes with --labels"
            if plain and not boundary
            else f"name a label space of {classes - 1} classes (with boundaries) or {classes} (without) with --labels"
        )
    return f"What may help: {'; or '.join(found) or 'other files'}."
