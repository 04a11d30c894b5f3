"""Model files and run state: complete or not there, and strict when read."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gesso import checkpoints
from gesso.checkpoints import (
    Model,
    disk_errors,
    load_model,
    load_state,
    optimizer_tensors,
    read_info,
    restore_optimizer,
    save_model,
    save_state,
    state_name,
    states,
    write_safely,
)
from gesso.errors import ModelFileError, TrainingError
from gesso.model_info import ModelInfo, StyleDescription, StyleTable
from gesso.networks import pix2pixhd


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return load_model(tiny_model)


Tensors = dict[str, Tensor]
Metadata = dict[str, str]


def content(path: Path) -> tuple[Tensors, Metadata]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def edited(tiny_model: Path, folder: Path, change: Callable[[Tensors, Metadata], Any]) -> Path:
    tensors, metadata = content(tiny_model)
    change(tensors, metadata)
    save_file(tensors, folder / "edited.safetensors", metadata=metadata)
    return folder / "edited.safetensors"


# ------------------------------------------------------------------------------------------------------- model files


def test_round_trip(tiny_model: Path, model: Model, tmp_path: Path) -> None:
    copy = tmp_path / "new" / "folder" / "copy.safetensors"
    save_model(copy, model.networks, model.info)
    again = load_model(copy)
    assert again.info == model.info
    assert again.hash == model.hash
    weights = load_file(tiny_model)
    assert weights.keys() == {f"generator.{key}" for key in again.networks["generator"].state_dict()}
    for key, value in again.networks["generator"].state_dict().items():
        assert torch.equal(value, weights[f"generator.{key}"])


def test_a_loaded_network_is_for_use_only(model: Model) -> None:
    generator = model.networks["generator"]
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_metadata_is_json_in_strings(tiny_model: Path, model: Model) -> None:
    _, metadata = content(tiny_model)
    decoded = {key: json.loads(value) for key, value in metadata.items()}
    assert decoded["networks"]["generator"]["class"] == "pix2pixhd.GlobalGenerator"
    assert decoded["label_space"]["name"] == "toy"
    assert decoded["format_version"] == checkpoints.FORMAT_VERSION
    assert decoded.keys() == ModelInfo.model_fields.keys()


def test_hash_is_of_weights_and_arguments(tiny_model: Path, model: Model, tmp_path: Path) -> None:
    later = model.info.model_copy(update={"created": "2031-01-01T00:00:00+00:00", "step": 99, "preset": "other"})
    save_model(tmp_path / "later.safetensors", model.networks, later)
    assert load_model(tmp_path / "later.safetensors").hash == model.hash
    weights = {key: value.clone() for key, value in model.networks["generator"].state_dict().items()}
    next(iter(weights.values())).view(-1)[0] += 1e-6
    save_model(tmp_path / "other.safetensors", {"generator": weights}, model.info)
    assert load_model(tmp_path / "other.safetensors").hash != model.hash


def test_files_have_the_rights_of_other_new_files(model: Model, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").touch()
    save_model(tmp_path / "model.safetensors", model.networks, model.info)
    save_state(tmp_path / "state", 1, {"networks": {"a": torch.zeros(1)}}, {}, keep=1)
    wanted = (tmp_path / "plain.txt").stat().st_mode
    assert (tmp_path / "model.safetensors").stat().st_mode == wanted
    assert {file.stat().st_mode for file in (tmp_path / "state").rglob("*.*") if file.is_file()} == {wanted}


def test_a_file_cut_off_anywhere(tiny_model: Path, tmp_path: Path) -> None:
    whole = tiny_model.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"cut\.safetensors cannot be read as safetensors .* Use another copy"):
            load_model(path)


def rename(tensors: Tensors, metadata: Metadata) -> None:
    tensors["generator.head.9.weight"] = tensors.pop("generator.head.1.weight")


def reshape(tensors: Tensors, metadata: Metadata) -> None:
    tensors["generator.head.1.bias"] = torch.zeros(4)


def field(name: str, value: str) -> Callable[[Tensors, Metadata], None]:
    def change(tensors: Tensors, metadata: Metadata) -> None:
        metadata[name] = value

    return change


def network(**changes: Any) -> Callable[[Tensors, Metadata], None]:
    def change(tensors: Tensors, metadata: Metadata) -> None:
        networks = json.loads(metadata["networks"])
        networks["generator"].update(changes)
        metadata["networks"] = json.dumps(networks)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"missing: generator\.head\.1\.weight; left over: generator\.head\.9\.weight.*another copy"),
        (
            reshape,
            r"generator\.head\.1\.bias has shape \(4,\) of torch.float32, its network needs \(3,\) of torch.float32",
        ),
        (field("step", '"many"'), "field step of the model file: Input should be a valid integer"),
        (field("step", "7 or so"), "field step of the model file is not JSON: '7 or so'"),
        (field("licence", '"mine"'), "field licence of the model file: Extra inputs are not permitted"),
        (field("format_version", "2"), "format version 2, this gesso reads up to 1: update gesso"),
        (field("format_version", '"1"'), "format version 1"),
        (field("networks", "{}"), "describes no generator, only nothing"),
        (lambda tensors, metadata: metadata.clear(), r"not a gesso model \(it has no format_version\)"),
        (network(**{"class": "pix2pixhd.Painter"}), r"needs a network 'pix2pixhd\.Painter'; this gesso knows"),
        (network(arguments={"in_channels": 3, "colour": 1}), "arguments of .*GlobalGenerator do not fit.*'colour'"),
        (network(arguments={"in_channels": 3, "norm": "group"}), "arguments of .*GlobalGenerator do not fit.*'group'"),
    ],
)
def test_what_does_not_fit_is_named(
    tiny_model: Path, tmp_path: Path, change: Callable[[Tensors, Metadata], Any], message: str
) -> None:
    path = edited(tiny_model, tmp_path, change)
    with pytest.raises(ModelFileError, match=message) as raised:
        load_model(path)
    assert str(path) in str(raised.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no file .*gone\.safetensors.*model\.safetensors"):
        read_info(tmp_path / "gone.safetensors")
    with pytest.raises(ModelFileError, match="There is no file"):
        load_model(tmp_path)


# ------------------------------------------------------------------------------------------------------------ styles

STYLED = {"style": {"channels": 2}, "styles": {"modes": 5, "objects": {"car": 3}}}


def styled(model: Model, folder: Path, change: Callable[[Tensors, Metadata], Any] = lambda *_: None) -> Path:
    """The model with two modes of its class 9, as if its generator took two channels more than its layouts have."""
    description = model.info.networks["generator"]
    arguments = {**description.arguments, "in_channels": description.arguments["in_channels"] + 2}
    wider = description.model_copy(update={"arguments": arguments})
    document = model.info.model_dump(by_alias=True)
    info = ModelInfo.model_validate({**document, **STYLED, "networks": {"generator": wider.model_dump(by_alias=True)}})
    styles = {
        "9.centres": torch.tensor([[0.25, -0.5], [1.0, 0.0]]),
        "9.sizes": torch.tensor([2, 1]),
        "9.thumbnails": torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3),
    }
    save_model(folder / "styled.safetensors", {"generator": pix2pixhd.GlobalGenerator(**arguments)}, info, styles)
    return edited(folder / "styled.safetensors", folder, change)


def test_styles_travel_in_the_model_file(model: Model, tmp_path: Path) -> None:
    found = load_model(styled(model, tmp_path))
    assert found.info.style == StyleDescription(channels=2, regions="instance")
    assert found.info.styles == StyleTable(modes=5, objects={"car": 3})
    assert found.styles.keys() == {"9.centres", "9.sizes", "9.thumbnails"}
    assert found.styles["9.centres"].tolist() == [[0.25, -0.5], [1.0, 0.0]]
    assert found.styles["9.sizes"].tolist() == [2, 1]
    assert found.styles["9.thumbnails"].flatten().tolist() == list(range(96))
    save_model(tmp_path / "again.safetensors", found.networks, found.info, found.styles)
    assert load_model(tmp_path / "again.safetensors").hash == found.hash
    save_model(tmp_path / "without.safetensors", found.networks, found.info)
    assert load_model(tmp_path / "without.safetensors").hash != found.hash


def test_centres_alone_will_do(model: Model, tmp_path: Path) -> None:
    """Imported clusters have neither sizes nor thumbnails."""

    def strip(tensors: Tensors, metadata: Metadata) -> None:
        del tensors["styles.9.sizes"], tensors["styles.9.thumbnails"]

    assert load_model(styled(model, tmp_path, strip)).styles.keys() == {"9.centres"}


def put(name: str, value: Tensor | None) -> Callable[[Tensors, Metadata], None]:
    def change(tensors: Tensors, metadata: Metadata) -> None:
        tensors.pop(f"styles.{name}", None)
        if value is not None:
            tensors[f"styles.{name}"] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (field("style", "null"), "holds clusters, but no style"),
        (field("style", '{"channels": 3}'), "contradicts itself: .* a style of 3, a generator that takes 15"),
        (field("style", '{"channels": 1}'), r"styles\.9\.centres of shape \(2, 2\)"),
        (field("style", '{"channels": 2, "regions": "pixel"}'), r"field style\.regions .*'instance' or 'label'"),
        (field("styles", '{"modes": 0}'), r"field styles\.modes .*greater than or equal to 1"),
        (put("9.centres", None), r"styles\.9\.sizes, which belongs to no class"),
        (put("9.centres", torch.zeros(2)), r"styles\.9\.centres of shape \(2,\) and torch\.float32"),
        (put("9.centres", torch.zeros(0, 2)), r"styles\.9\.centres of shape \(0, 2\)"),
        (put("9.centres", torch.zeros(2, 2).double()), r"styles\.9\.centres of shape \(2, 2\) and torch\.float64"),
        (put("9.sizes", torch.zeros(3).long()), r"styles\.9\.sizes of shape \(3,\), whose centres are \(2, 2\)"),
        (put("9.thumbnails", torch.zeros(2, 4, 4, 1).byte()), r"styles\.9\.thumbnails .* no square pictures"),
        (field("styles", '{"modes": 2, "leader": "sky"}'), r"the leading class 'sky', which has no clusters"),
        (put("9.together", torch.zeros(2, 3).long()), r"styles\.9\.together .* no counts beside 0 leading modes"),
        (put("9.colours", torch.zeros(2, 2)), r"styles\.9\.colours of shape"),
        (put("11.centres", torch.zeros(2, 2)), r"styles\.11\.centres, which belongs to no class"),
        (put("09.centres", torch.zeros(2, 2)), r"styles\.09\.centres, which belongs to no class"),
        (put("car", torch.zeros(2, 2)), r"styles\.car, which belongs to no class"),
    ],
)
def test_styles_that_do_not_fit_are_named(
    model: Model, tmp_path: Path, change: Callable[[Tensors, Metadata], Any], message: str
) -> None:
    path = styled(model, tmp_path, change)
    with pytest.raises(ModelFileError, match=message) as raised:
        load_model(path)
    assert str(path) in str(raised.value)


# ------------------------------------------------------------------------------------------------------ safe writing


def test_a_write_that_breaks_off_leaves_the_former_file(tiny_model: Path, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny_model.read_bytes())

    def half(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        (temporary.parent / ".tmp-of-a-library").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match=r"model\.safetensors could not be written: .*No space left.*make room"):
        write_safely(path, half)
    assert path.read_bytes() == tiny_model.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("former")

    def interrupted(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_safely(path, interrupted)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    left = tmp_path / ".file.partial" / f"{socket.gethostname()}.{killed.pid}-1"
    kept = tmp_path / ".file.mine"
    left.mkdir(parents=True)
    (left / "file").write_text("half")
    kept.write_text("not ours")
    write_safely(tmp_path / "file", lambda temporary: temporary.write_text("new") and None)
    assert sorted(tmp_path.iterdir()) == [kept, tmp_path / "file"]


@pytest.mark.parametrize("name", [f"{socket.gethostname()}.{os.getppid()}-1", "other.example.1-1", "4711"])
def test_what_may_be_in_the_works_is_left_alone_for_a_day(tmp_path: Path, name: str) -> None:
    left, now = tmp_path / ".file.partial" / name, time.time()
    left.mkdir(parents=True)
    for age, there in ((0, True), (80_000, True), (90_000, False)):
        os.utime(left, (now - age, now - age))
        write_safely(tmp_path / "file", lambda temporary: temporary.write_text("new") and None)
        assert left.exists() == there
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_two_writers_of_one_file_at_once(tmp_path: Path) -> None:
    """Each begins while the other is at it, and ends as if it were alone; the last one wins."""
    path, both = tmp_path / "file", threading.Barrier(2, timeout=30)

    def write(temporary: Path, text: str) -> None:
        temporary.write_text(text)
        both.wait()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(50):
            list(pool.map(lambda text: write_safely(path, partial(write, text=text)), ("one", "two")))
    assert path.read_text() in ("one", "two")
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Of which each removes the folder that they share when it seems to be empty."""
    path = tmp_path / "file"
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda n: write_safely(path, lambda temporary: temporary.write_text(f"{n}") and None), range(200))
        )
    assert int(path.read_text()) in range(200)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space"), "make room, and run"),
        (OSError(errno.EDQUOT, "Quota"), "make room, and run"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "make room, and run"),
        (PermissionError(errno.EACCES, "Permission denied"), "allow writing there, and run"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "mend that, and run"),
        (SafetensorError("something else"), "mend that, and run"),
    ],
)
def test_room_is_asked_for_where_it_is_wanting(tmp_path: Path, error: Exception, advice: str) -> None:
    with pytest.raises(TrainingError) as raised, disk_errors(tmp_path / "file"):
        raise error
    assert str(error) in str(raised.value) and advice in str(raised.value)
    assert ("make room" in str(raised.value)) == ("MiB are free" in str(raised.value)) == ("make room" in advice)


def test_a_folder_that_cannot_be_made(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"model\.safetensors could not be written: .*Not a directory"):
        save_model(tmp_path / "file" / "run" / "model.safetensors", model.networks, model.info)
    with pytest.raises(TrainingError, match="step-00000001 could not be written"):
        save_state(tmp_path / "file" / "state", 1, {}, {}, keep=1)


# --------------------------------------------------------------------------------------------------------- run state


def write_states(folder: Path, *steps: int, keep: int = 2) -> None:
    for step in steps:
        save_state(folder, step, {"networks": {"weight": torch.full((3,), float(step))}}, {"samples": 7}, keep)


def test_state_round_trip(tmp_path: Path) -> None:
    write_states(tmp_path, 12)
    document, parts = load_state(tmp_path / "step-00000012")
    assert document == {"step": 12, "samples": 7}
    assert parts.keys() == {"networks"}
    assert torch.equal(parts["networks"]["weight"], torch.full((3,), 12.0))


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    write_states(tmp_path, 1, 2, 3, 10, keep=2)
    assert [path.name for path in states(tmp_path)] == ["step-00000003", "step-00000010"]


def test_the_newest_state_is_the_last_one_also_beyond_eight_digits(tmp_path: Path) -> None:
    for step in (100_000_000, 99_999_999, 5):
        (tmp_path / state_name(step)).mkdir()
    assert [path.name for path in states(tmp_path)] == [state_name(n) for n in (5, 99_999_999, 100_000_000)]


def test_leftovers_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    write_states(tmp_path, 1)
    left = tmp_path / ".step-00000002.4711"
    left.mkdir()
    (left / "networks.safetensors").write_bytes(b"half")
    assert [path.name for path in states(tmp_path)] == ["step-00000001"]
    write_states(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_a_save_that_fails_leaves_the_earlier_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_states(tmp_path, 1, 2)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_flush", full)
    with pytest.raises(TrainingError, match="step-00000003 could not be written"):
        write_states(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("state.json", lambda path: path.unlink()),
        ("state.json", lambda path: os.truncate(path, 20)),
        ("networks.safetensors", lambda path: os.truncate(path, 20)),
    ],
)
def test_a_damaged_state_is_named(tmp_path: Path, file: str, damage: Callable[[Path], Any]) -> None:
    write_states(tmp_path, 5)
    damage(tmp_path / "step-00000005" / file)
    with pytest.raises(ModelFileError, match=r"step-00000005 is damaged .*Delete that folder"):
        load_state(tmp_path / "step-00000005")


def test_optimizers_go_on_as_if_never_stopped() -> None:
    def make(weight: Tensor) -> tuple[nn.Parameter, torch.optim.Optimizer]:
        parameter = nn.Parameter(weight.clone())
        return parameter, torch.optim.Adam([parameter], lr=0.1)

    def step(parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (parameter**2).sum().backward()
        optimizer.step()

    first, optimizer = make(torch.tensor([1.0, -2.0]))
    for _ in range(3):
        step(first, optimizer)
    second, resumed = make(first.detach())
    tensors = optimizer_tensors(
        {"generator": optimizer, "discriminator": make(torch.zeros(1))[1]},
        {"generator": ["generator.w"], "discriminator": ["discriminator.w"]},
    )
    assert {key.rpartition("/")[0] for key in tensors} == {"generator/generator.w"}
    restore_optimizer("generator", resumed, ["generator.w"], {key: value.clone() for key, value in tensors.items()})
    step(first, optimizer)
    step(second, resumed)
    assert torch.equal(first, second)


@pytest.mark.parametrize("first", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("second", [torch.contiguous_format, torch.channels_last])
def test_moments_stay_with_their_weights_in_another_memory_format(
    first: torch.memory_format, second: torch.memory_format
) -> None:
    """Fused Adam goes through weights and moments as they lie in memory."""

    def made(layout: torch.memory_format) -> tuple[Tensor, torch.optim.Optimizer]:
        weight = torch.linspace(-1, 1, 5 * 4 * 9, dtype=torch.float64).view(5, 4, 3, 3).to(memory_format=layout)
        return weight, torch.optim.Adam([weight.requires_grad_()], lr=0.1, fused=True)

    def step(weight: Tensor, optimizer: torch.optim.Optimizer, number: int) -> None:
        gradient = torch.randn(5, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        weight.grad = torch.empty_like(weight).copy_(gradient)
        optimizer.step()

    whole, optimizer = made(first)
    step(whole, optimizer, 0)
    saved = {
        key: value.clone().contiguous() for key, value in optimizer_tensors({"G": optimizer}, {"G": ["w"]}).items()
    }
    parts, other = made(second)
    with torch.no_grad():
        parts.copy_(whole)
    restore_optimizer("G", other, ["w"], saved)
    for number in (1, 2):
        step(whole, optimizer, number)
        step(parts, other, number)
    assert torch.allclose(whole, parts, rtol=0, atol=1e-12)
