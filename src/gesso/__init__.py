"""gesso turns semantic layouts into photographs: pix2pix, pix2pixHD and SPADE in one small house.

>>> import gesso
>>> synth = gesso.load("model.safetensors")  # doctest: +SKIP
>>> image = synth(labels)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gesso import errors, importers, labels, losses, networks
    from gesso.synthesis.retouching.retouch import retouch
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer, load

__all__ = ["Style", "Synthesizer", "errors", "importers", "labels", "load", "losses", "networks", "retouch"]
__version__ = version("gesso")

_MEMBERS = {
    "Style": "gesso.synthesis.style",
    "Synthesizer": "gesso.synthesis.synthesizer",
    "load": "gesso.synthesis.synthesizer",
    "retouch": "gesso.synthesis.retouching.retouch",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import gesso` and the command line start at once."""
    if name in _MEMBERS:
        return getattr(import_module(_MEMBERS[name]), name)
    if name in __all__:
        return import_module(f"gesso.{name}")
    raise AttributeError(f"module 'gesso' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
