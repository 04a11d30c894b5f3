"""Model files (enough to synthesise) and run state (enough to go on training), both written so that none is ever half-written.

Everything is safetensors and JSON, never a pickle. A file or folder is written under a temporary name, flushed to the disk and
renamed; whatever interrupts that leaves the earlier one in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gesso.disk import disk_errors as disk_errors
from gesso.disk import make_among_others, remove_leftovers, writer_name
from gesso.errors import ModelFileError
from gesso.model_info import FORMAT_VERSION, ModelInfo, NetworkDescription
from gesso.networks import pix2pix, pix2pixhd, spade
from gesso.style_tensors import fault_of_styles

EDITED = "The file is damaged or was edited: use another copy."
STATE_PREFIX = "step-"
NETWORKS: dict[str, type[nn.Module]] = {
    "pix2pix.UNetGenerator": pix2pix.UNetGenerator,
    "pix2pixhd.GlobalGenerator": pix2pixhd.GlobalGenerator,
    "pix2pixhd.CoarseToFineGenerator": pix2pixhd.CoarseToFineGenerator,
    "pix2pixhd.InstanceEncoder": pix2pixhd.InstanceEncoder,
    "spade.SpadeGenerator": spade.SpadeGenerator,
    "spade.StyleEncoder": spade.StyleEncoder,
}


@dataclass(frozen=True)
class Model:
    """A loaded model file: its networks in evaluation mode, what it says of itself, and the clusters of its styles.

    Attributes:
        networks: "generator" and, if there is one, "encoder".
        info: What the file says of itself.
        hash: SHA-256 over tensors and network arguments.
        styles: Per class with clusters, under `CLASS.centres` (K, F) float32, `CLASS.sizes` (K,) int64 and
            `CLASS.thumbnails` (K, T, T, 3) uint8, where CLASS is the index of the class; imported clusters have centres alone;
            with a leading class of K' modes `CLASS.together` (K, K') int64, how often they meet; empty without clusters.
    """

    networks: dict[str, nn.Module]
    info: ModelInfo
    hash: str
    styles: dict[str, Tensor] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------- model files


def save_model(
    path: str | Path,
    networks: Mapping[str, nn.Module | Mapping[str, Tensor]],
    info: ModelInfo,
    styles: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model file.

    Args:
        path: Where to; an existing file is replaced only when the new one is complete.
        networks: Networks, or their state dicts, by the names that `info.networks` describes.
        info: What the file says of itself; its `stored_as` decides how floating tensors are stored.
        styles: Clusters, as `Model.styles` holds them.

    Raises:
        ModelFileError: float16 is asked for, and a value is beyond its range.
        TrainingError: The disk is full or refuses; nothing is changed then.
    """
    parts = {n: m.state_dict() if isinstance(m, nn.Module) else m for n, m in networks.items()}
    tensors = {
        f"{name}.{key}": tensor.detach().to("cpu").contiguous()
        for name, part in {**parts, "styles": styles or {}}.items()
        for key, tensor in part.items()
    }
    if info.stored_as == "float16":
        tensors = {name: _halved(path, name, tensor) for name, tensor in tensors.items()}
    metadata = {key: json.dumps(value) for key, value in info.model_dump(mode="json", by_alias=True).items()}
    write_safely(Path(path), lambda temporary: save_file(tensors, temporary, metadata=metadata))


def save_half(source: str | Path, out: str | Path) -> None:
    """Write a model file again with its floating tensors as float16: half the size, and loaded as float32 like any other.

    Its hash is another one, as its numbers are. Whatever writes the new file again, such as `gesso styles`, keeps it so.

    Raises:
        ModelFileError: The source cannot be read, or a value in it is beyond float16's range.
        TrainingError: The disk is full or refuses; nothing is changed then.
    """
    model = load_model(source)
    save_model(out, model.networks, model.info.model_copy(update={"stored_as": "float16"}), model.styles)


def _halved(path: str | Path, name: str, tensor: Tensor) -> Tensor:
    """A floating tensor as float16; others as they are."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise ModelFileError(
            f"{path} is to be stored as float16, but tensor {name} reaches {tensor.abs().max().item():g}, and float16 ends at "
            f"{torch.finfo(torch.float16).max:g}. Keep this model as float32."
        )
    return half


def read_info(path: str | Path) -> ModelInfo:
    """What a model file says of itself, without its weights.

    Raises:
        ModelFileError: The file is missing, cut off, or not a gesso model.
    """
    with _opened(Path(path)) as file:
        metadata = file.metadata() or {}
    if "format_version" not in metadata:
        raise ModelFileError(
            f"{path} is safetensors, but not a gesso model (it has no format_version): train or import one."
        )
    document = {key: _decoded(path, key, value) for key, value in metadata.items()}
    if not isinstance(document["format_version"], int) or document["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {document['format_version']}, this gesso reads up to {FORMAT_VERSION}: update gesso."
        )
    try:
        info = ModelInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelFileError(
            f"{path}: field {'.'.join(map(str, first['loc']))} of the model file: {first['msg']}. {EDITED}"
        ) from None
    if "generator" not in info.networks:
        raise ModelFileError(f"{path} describes no generator, only {', '.join(info.networks) or 'nothing'}. {EDITED}")
    return info


def _decoded(path: str | Path, key: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise ModelFileError(f"{path}: field {key} of the model file is not JSON: {value[:40]!r}. {EDITED}") from None


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model file, strictly.

    Raises:
        ModelFileError: The file is missing, cut off or not a gesso model, or names or shapes of its tensors differ from those of
            the networks that it describes; the message names what differs.
    """
    path = Path(path)
    info = read_info(path)
    with _opened(path) as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    tensors = _widened(path, stored) if info.stored_as == "float16" else stored
    networks = {name: _build(path, description) for name, description in info.networks.items()}
    _refuse_contradictions(path, info)
    wanted = {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}
    styles = {key.removeprefix("styles."): t for key, t in tensors.items() if key.startswith("styles.")}
    _refuse_differences(path, wanted, {key: t for key, t in tensors.items() if not key.startswith("styles.")})
    if fault := fault_of_styles(info, styles):
        raise ModelFileError(f"{path} holds {fault}. {EDITED}")
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        network.load_state_dict(own, strict=True, assign=True)
        network.eval().requires_grad_(False).to(device)
    return Model(networks, info, _hash(stored, info), styles)


def _widened(path: Path, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is stored as float16 as float32, exactly; the file says that no floating tensor is stored as anything else."""
    for name, tensor in stored.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float16:
            raise ModelFileError(
                f"{path} says that it is stored as float16, but its tensor {name} is {tensor.dtype}. {EDITED}"
            )
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}


def _build(path: Path, description: NetworkDescription) -> nn.Module:
    if description.name not in NETWORKS:
        raise ModelFileError(
            f"{path} needs a network {description.name!r}; this gesso knows {', '.join(NETWORKS)}. Update gesso."
        )
    try:
        with torch.device("meta"):
            return NETWORKS[description.name](**description.arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{path}: the arguments of {description.name} do not fit: {error}. Update gesso."
        ) from None


def _refuse_contradictions(path: Path, info: ModelInfo) -> None:
    """What the file says of its input must fit together."""
    classes, channels = info.semantics.classes, info.semantics.channels
    named = len(info.label_space) if info.label_space else 0
    style = info.style.channels if info.style and info.style.kind == "features" else 0
    takes = info.networks["generator"].arguments.get("in_channels", channels + style)
    if named != classes or takes < channels + style:
        raise ModelFileError(
            f"{path} contradicts itself: a label space of {named} classes, semantics of {classes} in {channels} channels, "
            f"a style of {style}, a generator that takes {takes}. {EDITED}"
        )


def _refuse_differences(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = [n for n in wanted if n not in found]
    left_over = [n for n in found if n not in wanted]
    if missing or left_over:
        raise ModelFileError(
            f"{path} does not hold the tensors of the networks that it describes; missing: {', '.join(missing[:5]) or 'none'}; "
            f"left over: {', '.join(left_over[:5]) or 'none'}. {EDITED}"
        )
    for name, tensor in wanted.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise ModelFileError(
                f"{path}: tensor {name} has shape {tuple(found[name].shape)} of {found[name].dtype}, its network needs "
                f"{tuple(tensor.shape)} of {tensor.dtype}. "
                f"{EDITED}"
            )


def _hash(tensors: Mapping[str, Tensor], info: ModelInfo) -> str:
    """SHA-256 over tensors and network arguments: the same for the same model, whenever it was written."""
    digest = hashlib.sha256(
        json.dumps({n: d.model_dump() for n, d in sorted(info.networks.items())}, sort_keys=True).encode()
    )
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}. A run folder keeps its model in model.safetensors.")
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} cannot be read as safetensors ({error}): it is cut off or damaged. Use another copy."
        ) from None


# --------------------------------------------------------------------------------------------------------- run state


def save_state(
    folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], document: Mapping[str, Any], keep: int
) -> None:
    """Write `folder/step-XXXXXXXX/`: one safetensors file per part and `state.json`; then remove all but the newest `keep`.

    Raises:
        TrainingError: The disk is full or refuses; earlier states are untouched.
    """
    target = folder / state_name(step)
    temporary = folder / f".{target.name}.{os.getpid()}"
    with disk_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".{STATE_PREFIX}*"):
            shutil.rmtree(leftover)  # of a process that was killed while saving
        if target.exists():
            return
        try:
            temporary.mkdir()
            for name, tensors in parts.items():
                file = temporary / f"{name}.safetensors"
                save_file({k: t.detach().to("cpu").contiguous() for k, t in tensors.items()}, file)
                _finish(file)
            (temporary / "state.json").write_text(json.dumps({"step": step, **document}, indent=1))
            _finish(temporary / "state.json")
            _flush(temporary)
            temporary.rename(target)
            _flush(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in states(folder)[:-keep]:
            shutil.rmtree(old)


def state_name(step: int) -> str:
    """Name of the folder of one state."""
    return f"{STATE_PREFIX}{step:08d}"


def states(folder: Path) -> list[Path]:
    """Complete states of a run, oldest first."""
    return sorted(
        folder.glob(f"{STATE_PREFIX}*"), key=lambda path: (len(path.name), path.name)
    )  # steps beyond 8 digits


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The document and the tensors, by part, of one state.

    Raises:
        ModelFileError: A file is missing or damaged.
    """
    try:
        document = read_document(path)
        parts = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged_state(path, error) from None
    return document, parts


def read_document(path: Path) -> dict[str, Any]:
    """What one state says beside its tensors; raises OSError or ValueError."""
    return dict(json.loads((path / "state.json").read_text()))


def damaged_state(path: Path, error: Exception) -> ModelFileError:
    """What to say of a state that cannot be resumed from."""
    return ModelFileError(
        f"The state {path} is damaged ({error}). Delete that folder to resume from the one before it, if there is one."
    )


def optimizer_tensors(
    optimizers: Mapping[str, torch.optim.Optimizer], parameters: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    """Moments and step counts of optimizers as named tensors: `side/parameter/moment`.

    Args:
        optimizers: By side.
        parameters: Names of the parameters of each, in its order.
    """
    return {
        f"{side}/{parameters[side][number]}/{name}": value
        for side, optimizer in optimizers.items()
        for number, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def restore_optimizer(
    side: str, optimizer: torch.optim.Optimizer, parameters: Sequence[str], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave for one side.

    Raises:
        ValueError: The tensors are of a parameter that the optimizer lacks.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        owner, parameter, name = key.split("/")
        if owner == side:
            state.setdefault(parameters.index(parameter), {})[name] = value
    document = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": document["param_groups"]})
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                moments[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)  # fused Adam goes by memory


# ----------------------------------------------------------------------------------------------------- safe writing


def write_safely(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file near `path`, then put it in place in one move.

    Raises:
        TrainingError: The disk is full or refuses; `path` is as it was.
    """
    ours = path.with_name(
        f".{path.name}.partial"
    )  # a name that is known: to look for others is to list the whole folder
    folder = ours / writer_name()  # safetensors has temporary files of its own: they stay in it
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(ours)
        try:
            make_among_others(folder)
            temporary = folder / path.name
            write(temporary)
            _finish(temporary)
            temporary.replace(path)
            _flush(path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                ours.rmdir()


def _finish(file: Path) -> None:
    """Give a new file the rights that its folder got (safetensors keeps files to their owner), and force it onto the disk."""
    file.chmod(file.parent.stat().st_mode & 0o666)
    _flush(file)


def _flush(path: Path) -> None:
    """Force a file or folder onto the disk; some systems refuse that for folders, where renaming is enough."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
