"""A document of another model, made to fit this one: classes by their names, styles as far as they are known."""

from __future__ import annotations

import numpy as np

from gesso.editor.wire import DocumentWire, encode_png
from gesso.errors import LabelError, StyleError
from gesso.labels import LabelSpace
from gesso.synthesis.style import Choice
from gesso.synthesis.style_space import StyleSpace
from gesso.synthesis.synthesizer import Synthesizer


def fit_classes(document: DocumentWire, theirs: LabelSpace, ours: LabelSpace, pixels: int) -> DocumentWire:
    """The document in another label space.

    Args:
        document: As it was saved.
        theirs: What its class indices mean.
        ours: What they are to mean.
        pixels: The most that it may have.

    Raises:
        LabelError: It shows a class that `ours` does not have.
        DataError: It is too large or damaged.
    """
    if theirs.names == ours.names:
        return document
    layout = document.layout(theirs, pixels)
    table = np.array(
        [ours.names.index(n) if n in ours.names else -1 for n in theirs.names] + [len(ours)], dtype=np.int32
    )
    shown = {int(n) for n in np.unique(layout.ground_label)} | {one.class_ for one in document.objects}
    if lost := sorted(theirs.names[n] for n in shown if table[n] < 0):
        raise LabelError(
            f"The project was made in the label space {theirs.name}, and shows classes that this model ({ours.name}) does not "
            f"have: {', '.join(lost)}. Open it with a model of its label space."
        )
    ground = table[layout.ground_label]
    return document.model_copy(
        update={
            "ground": document.ground.model_copy(update={"label": encode_png(ground.astype(np.uint16))}),
            "objects": tuple(x.model_copy(update={"class_": int(table[x.class_])}) for x in document.objects),
        }
    )


def fit_styles(document: DocumentWire, synthesizer: Synthesizer) -> tuple[DocumentWire, int]:
    """The document with the choices of style that a model knows, and how many others there were."""
    space, styles, about = synthesizer.style_space, document.styles, synthesizer.info.style
    classes = {
        name: choice
        for name, choice in styles.classes.items()
        if space and name in space.labels.names and _known(choice, space.labels.index(name), space)
    }
    objects = tuple(
        one
        if one.style is None or (space and _known(one.style, one.class_, space))
        else one.model_copy(update={"style": None})
        for one in document.objects
    )
    latent = styles.z is not None and about is not None and about.kind == "z" and len(styles.z) == about.channels
    noise = styles.noise if synthesizer.style_kind == "noise" else None
    fitting = styles.model_copy(update={"classes": classes, "z": styles.z if latent else None, "noise": noise})
    lost = sum(a.style is not None and b.style is None for a, b in zip(document.objects, objects, strict=True))
    lost += len(styles.classes) - len(classes)
    lost += (styles.z is not None and not latent) + (styles.noise is not None and noise is None)
    return document.model_copy(update={"objects": objects, "styles": fitting}), lost


def _known(choice: Choice, index: int, space: StyleSpace) -> bool:
    try:
        space.vector(choice, index)
    except StyleError:
        return False
    return True
