"""What is said of styles that a model does not have."""

from __future__ import annotations

from gesso.errors import StyleError
from gesso.model_info import StyleDescription
from gesso.synthesis.style import Style

NONE = (
    "This model has no style, so no style can be chosen: leave it out. Train pix2pixHD with --instance-features or "
    "--label-features, or SPADE with --style-encoder, to get one."
)
KNOWN = {"features": ("classes", "instances"), "z": ("z",), "noise": ("noise",)}  # fields of a style, besides its seed
ADVICE = {
    "features": "Choose for classes and objects, such as car=3; gesso info lists the modes.",
    "z": "Choose a seed, a z, or a photograph (--style-image).",
    "noise": "Choose a seed, or no noise (--no-noise).",
}


def described(about: StyleDescription) -> str:
    """What a model's style is, in words."""
    if about.kind == "z":
        return f"one vector z of {about.channels} numbers for the whole picture"
    if about.kind == "noise":
        return "noise: chance decides what the input leaves open"
    return f"{about.channels} numbers for each {'object' if about.regions == 'instance' else 'class'}"


def refuse_foreign(style: Style, about: StyleDescription) -> None:
    """See that a style chooses nothing but what a kind of style knows.

    Raises:
        StyleError: It chooses something else.
    """
    chosen = {
        "classes": f"A style was chosen for class {next(iter(style.classes), '')}",
        "instances": f"A style was chosen for object {next(iter(style.instances), '')}",
        "z": f"A z of {len(style.z or ())} numbers was chosen",
        "noise": f"{'Noise' if style.noise else 'No noise'} was chosen",
    }
    for field, said in chosen.items():
        if field not in KNOWN[about.kind] and getattr(style, field) not in (None, {}):
            raise StyleError(f"{said}, but this model's style is {described(about)}. {ADVICE[about.kind]}")
