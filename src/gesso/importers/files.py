"""Weights from files of the official codes: torch's, new and old, and safetensors; nothing that is pickled in them is run."""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections import deque
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gesso.errors import ModelFileError

ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"
NUMBERS = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32}
PICKLES = 5  # in a file that torch wrote before it packed them
OPCODES = 100_000  # looked at in each; an official state dict has some thousand
NEEDED = ("collections.OrderedDict",)
PARALLEL = "module."  # what torch's DataParallel puts before every name


def is_npy(path: Path) -> bool:
    """Whether a file is numpy's, by its first bytes.

    Raises:
        ModelFileError: There is no such file.
    """
    return _beginning(path).startswith(NPY)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth or .safetensors file, under its official names.

    Raises:
        ModelFileError: The file is missing or damaged, asks for code to be run, or holds something other than finite numbers.
    """
    start = _beginning(path)
    tensors = _from_safetensors(path) if start[8:9] == b"{" else _from_torch(path, packed=start.startswith(ZIP))
    if tensors and all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if wrong := _flaw(tensor):
            raise ModelFileError(f"{path}: {name} {wrong}.")
    return tensors


def _beginning(path: Path) -> bytes:
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}.")
    with path.open("rb") as file:
        return file.read(16)


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} cannot be read as safetensors ({error}): it is cut off or damaged. Use another copy."
        ) from None


def _from_torch(path: Path, packed: bool) -> dict[str, Tensor]:
    try:
        if packed:
            _refuse_compressed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that torch means to leave behind
            document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        if asked := _foreign_name(path, packed):
            raise ModelFileError(
                f"{path} is refused: its pickle asks for {asked}, which is not a tensor and may run code. Use another copy, "
                "or one that holds the state dict alone."
            ) from None
        raise ModelFileError(
            f"{path} cannot be read as weights of torch ({_shortened(error)}): it is cut off, damaged or another file. "
            "Use another copy."
        ) from None
    return _state_dict(path, document)


def _refuse_compressed(path: Path) -> None:
    """Torch never compresses; a small file that unpacks to a large one was made to fill the memory."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"it unpacks to {unpacked} bytes, more than it has")


def _foreign_name(path: Path, packed: bool) -> str | None:
    """The first name in the file's pickles that state dicts do not need; nothing is carried out to find it."""
    with ExitStack() as opened:
        try:
            file: IO[bytes] = opened.enter_context(path.open("rb"))
            if packed:
                archive = opened.enter_context(zipfile.ZipFile(file))
                file = archive.open(next(name for name in archive.namelist() if name.endswith("data.pkl")))
            for _ in range(PICKLES):
                texts = deque(["", ""], maxlen=2)
                for opcode, argument, _ in islice(pickletools.genops(file), OPCODES):
                    asked = ".".join(texts) if opcode.name == "STACK_GLOBAL" else ""
                    asked = str(argument).replace(" ", ".") if opcode.name in ("GLOBAL", "INST") else asked
                    if asked and asked not in NEEDED and not asked.startswith("torch."):
                        return asked
                    texts.extend([argument] if isinstance(argument, str) else [])
        except Exception:  # damaged, so that there is nothing to name
            return None
    return None


def _shortened(error: Exception) -> str:
    """The first sentence that says what is wrong, without torch's advice to trust the file."""
    said = re.sub(r"^Weights only load failed.*?(\n\n+|$)", "", str(error), flags=re.DOTALL).strip()
    return (said or type(error).__name__).splitlines()[0][:160]


def _state_dict(path: Path, document: object) -> dict[str, Tensor]:
    if not isinstance(document, dict) or not document:
        raise ModelFileError(
            f"{path} holds something else (type {type(document).__name__}) than a state dict of named tensors. Save "
            "network.state_dict()."
        )
    for name, value in document.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelFileError(
                f"{path}: {name} is a {type(value).__name__} instead of a tensor: give the state dict itself, as the official "
                "*_net_G.pth, *_net_D.pth and *_net_E.pth hold it."
            )
    return dict(document)


def _flaw(tensor: Tensor) -> str | None:
    """What keeps a tensor from being weights."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.dtype not in NUMBERS:
        return f"is a {tensor.dtype} tensor ({tensor.layout}, {tensor.device.type}) instead of plain numbers"
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return f"claims the shape {tuple(tensor.shape)} and holds fewer numbers"
    if not bool(tensor.isfinite().all()):
        return "holds values that are not finite: this training had failed"
    return None
