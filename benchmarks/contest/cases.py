"""What is measured: the figures that gesso has to reach, as cases. Imports no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

GEMM = 275.0  # GFLOP/s of large float32 matrix products where the seconds of the cases were taken
CLASSES = 35  # of Cityscapes; with the instance boundary the semantics have 36 channels
GIB = 2**30


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: For the command line and files.
        title: For people.
        kind: "layout" (another layout each time), "style" (one layout, another style each time), "step" (a training step),
            "int8" or "edit".
        network: "spade", "global" or "local".
        size: Height and width.
        generator: Arguments that the generators of both sides know by the same names.
        discriminator: Likewise, of a training step.
        bar: How many times as fast as the reference gesso has to be; 0 for no bar.
        memory: Bytes that gesso may occupy; 0 for any number.
        seconds: What the reference took where it was first measured; 0 where it was not.
        layouts: How many layouts a round has; its time is the mean over them.
    """

    name: str
    title: str
    kind: str
    network: str
    size: tuple[int, int]
    generator: dict[str, Any]
    discriminator: dict[str, Any] = field(default_factory=dict)
    bar: float = 0.0
    memory: float = 0.0
    seconds: float = 0.0
    layouts: int = 1

    @property
    def paper(self) -> str:
        return "spade" if self.network == "spade" else "pix2pixhd"

    def quick(self) -> Case:
        """The same with narrow networks and small pictures: whether it runs, not how fast."""
        narrow = {"width": 4, "hidden": 8} if self.network == "spade" else {"width": 4, "downs": 2, "blocks": 1}
        if "latent" in self.generator:
            narrow |= {"latent": 8, "latent_grid": (1, 2)}
        discriminator = self.discriminator and self.discriminator | {"width": 4}
        size = (128, 256) if self.generator.get("upsampling") == "most" else (64, 128)
        found = replace(self, generator=self.generator | narrow, discriminator=discriminator, size=size)
        return replace(found, layouts=min(2, self.layouts), bar=0.0, memory=0.0, seconds=0.0)


_SPADE = {"width": 64, "hidden": 128}
_MORE, _MOST = ({**_SPADE, "upsampling": upsampling} for upsampling in ("more", "most"))
_FROM_Z = {**_MORE, "latent": 256, "latent_grid": (4, 8)}
_GLOBAL, _LOCAL = ({"width": width, "downs": 4, "blocks": 9} for width in (64, 32))
_TWO = {"width": 64, "scales": 2}
_512P = (512, 1024)

CASES = (
    Case("spade", "SPADE 512x256, new layout", "layout", "spade", (256, 512), _MORE, bar=2.0, seconds=3.6, layouts=5),
    Case("spade-style", "SPADE 512x256, style only", "style", "spade", (256, 512), _FROM_Z, bar=3.0, seconds=3.6),
    Case("spade-large", "SPADE 1024x512, new layout", "layout", "spade", _512P, _MOST, bar=2.5),
    Case("global", "pix2pixHD 1024x512", "layout", "global", _512P, _GLOBAL, bar=1.4, seconds=5.9),
    Case(
        "local", "pix2pixHD 2048x1024", "layout", "local", (1024, 2048), _LOCAL, bar=1.8, memory=1.6 * GIB, seconds=13.2
    ),
    Case("int8", "pix2pixHD 1024x512, openvino int8", "int8", "global", _512P, _GLOBAL, bar=3.5, seconds=5.9),
    Case("edit", "pix2pixHD 1024x512, small edit", "edit", "global", _512P, _GLOBAL, bar=5.0, seconds=5.9),
    Case("spade-step", "SPADE step 128x128", "step", "spade", (128, 128), _MORE, _TWO, bar=1.3, seconds=3.3),
    Case("step", "pix2pixHD step 256x128", "step", "global", (128, 256), _GLOBAL, _TWO, bar=1.25, seconds=3.4),
)
NAMES = tuple(case.name for case in CASES)


def chosen(names: list[str] | None, quick: bool) -> list[Case]:
    """The cases of these names in their usual order, or all.

    Raises:
        ValueError: There is no such case.
    """
    if unknown := sorted(set(names or ()) - set(NAMES)):
        raise ValueError(f"There is no case {', '.join(unknown)}; choose of {', '.join(NAMES)}.")
    found = [case for case in CASES if not names or case.name in names]
    return [case.quick() for case in found] if quick else found
