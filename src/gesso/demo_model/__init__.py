"""The demo model that ships inside the package: pix2pixHD with a style per object, of the toy world.

Beside it lie its evaluation, a picture of what it makes of held-out layouts, and README.md, which says how it was made.
`examples/demo_model.py` of the repository makes it again.
"""

from __future__ import annotations

from pathlib import Path

from gesso.errors import ModelFileError

__all__ = ["shipped_model"]

MODEL = Path(__file__).parent / "model.safetensors"


def shipped_model() -> Path:
    """The model file that ships with gesso.

    Raises:
        ModelFileError: It is not in this installation.
    """
    if not MODEL.is_file():
        raise ModelFileError(
            f"The demo model is not in this installation of gesso (there is no {MODEL}). gesso demo --train trains one from "
            "scratch, and examples/demo_model.py --ship in a clone of the repository makes the one that belongs there."
        )
    return MODEL
