"""OpenVINO's pair of files, NAME.xml and NAME.bin: written so that a half-written pair is noticed, in float32 or int8."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import rich

from gesso.checkpoints import write_safely
from gesso.errors import ModelFileError
from gesso.synthesis.graphs.build import require
from gesso.synthesis.graphs.described import AGAIN, KEY, ExportedInfo, read_description
from gesso.synthesis.graphs.sessions import Feeds, openvino_core

UNKNOWN = "0" * 64  # stands for the digest of the weights until they are written


def of_onnx(graph: Any) -> Any:
    """An ONNX model as OpenVINO's.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    return openvino_core().read_model(graph.SerializeToString())


def quantised(model: Any, layouts: Sequence[Feeds], say: Callable[[str], None] = lambda stage: None) -> Any:
    """The model with convolutions in int8, whose ranges are those that these layouts bring about.

    Args:
        model: OpenVINO's, in float32.
        layouts: What the graph is fed, one batch each.
        say: Told which layout it is at.

    Raises:
        ConfigError: nncf is not installed.
    """

    def show(number: int) -> Feeds:
        say(f"calibrating: layout {number + 1} of {len(layouts)}")
        return layouts[number]

    nncf = _nncf()
    given = nncf.Dataset(range(len(layouts)), show)
    # Convolutions alone: norms and sums in int8 save no time, and make three to five times the error on trained networks.
    kept = nncf.IgnoredScope(types=["MVN", "Add", "Multiply"], validate=False)
    with _silence():
        return nncf.quantize(model, given, subset_size=len(layouts), ignored_scope=kept)


def _nncf() -> ModuleType:
    """NNCF, which unless told otherwise when it is imported reports its use over the network."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        return require("nncf", "nncf.openvino")[0]
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before


@contextmanager
def _silence() -> Iterator[None]:
    """Without NNCF's log and its progress bars, which would get into the way of gesso's own."""
    logger, console = logging.getLogger("nncf"), rich.get_console()
    level, quiet = logger.level, console.quiet
    logger.setLevel(logging.ERROR)
    console.quiet = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        console.quiet = quiet


def save(model: Any, path: Path, info: ExportedInfo) -> None:
    """Write `path`, an .xml, and the .bin beside it.

    The .xml comes last and holds the digest of the .bin, so that a pair of two exports is refused instead of computed with.

    Raises:
        TrainingError: The disk is full or refuses.
    """
    (openvino,) = require("openvino")
    model.set_rt_info(info.model_copy(update={"weights_sha256": UNKNOWN}).model_dump_json(by_alias=True), KEY)
    text = ""

    def write(weights: Path) -> None:
        nonlocal text
        openvino.save_model(model, weights.with_suffix(".xml"), compress_to_fp16=False)
        text = weights.with_suffix(".xml").read_text(encoding="utf-8").replace(UNKNOWN, digest(weights))

    write_safely(path.with_suffix(".bin"), write)
    write_safely(path, lambda temporary: write_text(temporary, text))


def write_text(path: Path, text: str) -> None:
    """Write a file of text, in UTF-8."""
    path.write_text(text, encoding="utf-8")


def read(path: Path) -> tuple[Any, ExportedInfo]:
    """A model that `save` wrote, and what it says of itself.

    Raises:
        ModelFileError: A file is missing, damaged or no export of gesso, or the two do not belong together.
        ConfigError: OpenVINO is not installed.
    """
    core = openvino_core()
    weights = path.with_suffix(".bin")
    if missing := [file for file in (path, weights) if not file.is_file()]:
        raise ModelFileError(
            f"There is no file {missing[0]}; OpenVINO's {path.name} and {weights.name} belong together."
        )
    info = read_description(_said(path), path)
    if digest(weights) != info.weights_sha256:
        raise ModelFileError(f"{weights} is damaged, or of another export than {path.name}. {AGAIN}")
    try:
        return core.read_model(path), info
    except RuntimeError as error:
        raise _damaged(path, error) from None


def _said(path: Path) -> str | None:
    """The description in an .xml, read before OpenVINO looks at weights that may not be its own."""
    try:
        entry = ElementTree.parse(path).find(f"rt_info/{KEY}")
    except ElementTree.ParseError as error:
        raise _damaged(path, error) from None
    return None if entry is None else entry.get("value")


def _damaged(path: Path, error: Exception) -> ModelFileError:
    reason = str(error).strip().splitlines()[-1]
    return ModelFileError(f"{path} cannot be read as OpenVINO's ({reason}): it is cut off or damaged. {AGAIN}")


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
