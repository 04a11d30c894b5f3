"""The training loop: data order, resuming, guards, what a run folder holds."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from gesso.batches import StepSampler
from gesso.checkpoints import load_model, states
from gesso.data.dataset import SemanticDataset
from gesso.devices import choose_device
from gesso.errors import ConfigError, DataError, LabelError, ModelFileError, TrainingError
from gesso.pictures import sheet, to_uint8
from gesso.recipes import pix2pixhd
from gesso.recipes.protocol import Recipe
from gesso.train import FREE_TO_CHANGE, fit, total_steps
from gesso.train_log import RunLog
from training_script import STEPS, fit_tiny, tiny_config, tiny_data

pytestmark = pytest.mark.usefixtures("one_thread")


# --------------------------------------------------------------------------------------------------- order of the data


def keys(samples: int, first: int, last: int, rank: int = 0, world: int = 1, **changes: Any) -> list[list[Any]]:
    return list(StepSampler(samples, tiny_config(**changes), first, last, rank, world))


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(1, 20), batch=st.integers(1, 7), seed=st.integers(0, 5))
def test_every_sample_once_per_pass(samples: int, batch: int, seed: int) -> None:
    config = tiny_config(batch=batch, seed=seed, epochs=2, epochs_decay=1)
    total = total_steps(config, samples)
    seen = [key for step in keys(samples, 0, total, batch=batch, seed=seed) for key in step]
    assert len(seen) == total * batch
    assert 3 * samples <= len(seen) < 3 * samples + batch
    assert sorted(seen[: 3 * samples]) == sorted((index, epoch) for index in range(samples) for epoch in range(3))


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(1, 20), part=st.integers(1, 3), accumulate=st.integers(1, 3), world=st.integers(1, 4))
def test_a_step_sees_the_same_however_it_is_shared_out(samples: int, part: int, accumulate: int, world: int) -> None:
    batch = part * accumulate * world
    alone = [sorted(step) for step in keys(samples, 0, 6, batch=batch)]
    shared = [keys(samples, 0, 6, rank, world, batch=batch, accumulate=accumulate) for rank in range(world)]
    assert {len(one) for one in shared} == {6 * accumulate}
    for step, wanted in enumerate(alone):
        parts = [one[step * accumulate + n] for one in shared for n in range(accumulate)]
        assert {len(one) for one in parts} == {part}
        assert sorted(key for one in parts for key in one) == wanted


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(1, 20), batch=st.integers(1, 7), first=st.integers(0, 20))
def test_the_order_goes_on_from_any_step(samples: int, batch: int, first: int) -> None:
    assert keys(samples, first, 20, batch=batch) == keys(samples, 0, 20, batch=batch)[first:]


def test_passes_and_seeds_differ_in_order() -> None:
    first, second = keys(20, 0, 2, batch=20)
    assert [index for index, _ in first] != [index for index, _ in second]
    assert keys(20, 0, 1, batch=20, seed=1) != [first]


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--batch 6 cannot be shared by 2 processes in 2 parts.*multiple of 4"):
        StepSampler(7, cast(Any, SimpleNamespace(batch=6, accumulate=2)), 0, 1, 0, 2)


# -------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with averaged weights; not to be changed."""
    run = tmp_path_factory.mktemp("train") / "run"
    result = fit_tiny(tiny_dataset, run, ema=0.9, sample_every=20)
    assert (result.step, result.finished) == (STEPS, True)
    assert result.images_per_second > 0
    assert 0 < result.outside_step < 1
    return run


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def losses(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "G_gan" in line]


def same_model(first: Path, second: Path) -> bool:
    return load_model(first / "model.safetensors").hash == load_model(second / "model.safetensors").hash


def test_what_a_run_holds(run: Path) -> None:
    assert {path.name.split(".")[0] for path in run.iterdir()} == {
        "best",
        "config",
        "events",
        "log",
        "model",
        "samples",
        "state",
    }
    assert [path.name for path in states(run / "state")] == ["step-00000027", "step-00000028"]
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"] == "pix2pixhd"
    assert config["data"]["samples"] == 7
    assert tiny_config(**{k: v for k, v in config.items() if k not in ("recipe", "data")}) == tiny_config(
        ema=0.9, sample_every=20
    )


def test_log(run: Path) -> None:
    lines = losses(run)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert lines[-1]["epoch"] == 8
    assert lines[0]["lr_generator"] == 2e-4
    assert lines[-1]["lr_generator"] == pytest.approx(2e-4 / 4)  # the last pass, at lr / epochs_decay
    assert all(np.isfinite(list(line.values())).all() for line in lines)


def test_sheets_of_fixed_samples(run: Path) -> None:
    names = sorted(path.name for path in (run / "samples").iterdir())
    assert names == [f"{split}-{step:08d}.png" for split in ("train", "val") for step in (0, 20, STEPS)]
    with Image.open(run / "samples" / f"val-{STEPS:08d}.png") as page:
        assert page.width > 3 * 64  # layout, generated, real
        assert page.height > 2 * 32  # two samples
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    gaps = [line["val_l1"] for line in lines if "val_l1" in line]
    assert len(gaps) == 3
    assert all(0 < gap < 1 for gap in gaps)


def test_averaged_weights_are_in_the_model_file(run: Path) -> None:
    state = states(run / "state")[-1]
    averaged, trained = load_file(state / "averaged.safetensors"), load_file(state / "networks.safetensors")
    model = load_file(run / "model.safetensors")
    assert model.keys() == averaged.keys()
    assert all(torch.equal(model[key], averaged[key]) for key in model)
    assert not any(torch.equal(model[key], trained[key]) for key in model)


def test_without_averaging_the_trained_weights_are(tiny_dataset: Path, tmp_path: Path) -> None:
    fit_tiny(tiny_dataset, tmp_path / "run", stop_at=2)
    trained = load_file(tmp_path / "run" / "state" / "step-00000002" / "networks.safetensors")
    model = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(model[key], trained[key]) for key in model)
    assert not any(key.startswith("discriminator") for key in model)


def test_averages_follow_the_formula(tiny_dataset: Path, tmp_path: Path) -> None:
    """kept += (1 - min(ema, (1 + step) / (10 + step))) * (current - kept), from the weights of every single step."""
    runs = [tmp_path / str(step) for step in range(4)]
    for step, run in enumerate(runs):
        fit_tiny(tiny_dataset, run, stop_at=step, ema=0.15)
    weights = [load_file(run / "state" / f"step-{n:08d}" / "networks.safetensors") for n, run in enumerate(runs)]
    key = "generator.head.1.weight"
    kept = weights[0][key].double()
    for step, decay in enumerate([0.1, 0.15, 0.15]):
        kept = decay * kept + (1 - decay) * weights[step + 1][key].double()
    averaged = load_file(runs[3] / "state" / "step-00000003" / "averaged.safetensors")[key]
    torch.testing.assert_close(averaged.double(), kept, rtol=1e-6, atol=1e-9)


def test_stopped_and_gone_on_with_is_the_same(run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    for stop_at, step in ((5, 5), (3, 5), (13, 13), (None, STEPS)):  # stopping earlier than it is changes nothing
        result = fit_tiny(tiny_dataset, tmp_path / "run", stop_at=stop_at, ema=0.9, sample_every=20)
        assert (result.step, result.finished) == (step, stop_at is None)
    assert same_model(tmp_path / "run", run)
    assert losses(run)[-1]["G_gan"] == losses(tmp_path / "run")[-1]["G_gan"]


def test_a_process_that_loads_data_changes_nothing(run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    fit_tiny(tiny_dataset, tmp_path / "run", ema=0.9, workers=1)
    assert same_model(tmp_path / "run", run)


@pytest.fixture
def spawned_workers() -> Iterator[None]:
    """Data loaders start their processes as on macOS and Windows."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.long
@pytest.mark.usefixtures("spawned_workers")
def test_a_spawned_process_that_loads_data_changes_nothing(tiny_dataset: Path, tmp_path: Path) -> None:
    for name, workers in (("spawned", 1), ("alone", 0)):
        fit_tiny(tiny_dataset, tmp_path / name, stop_at=5, workers=workers)
    assert same_model(tmp_path / "spawned", tmp_path / "alone")


def test_another_seed_is_another_run(tiny_dataset: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        fit_tiny(tiny_dataset, tmp_path / str(seed), stop_at=1, seed=seed)
    assert not same_model(tmp_path / "1", tmp_path / "2")


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_a_batch_in_two_parts_is_the_same_batch(tiny_dataset: Path, tmp_path: Path) -> None:
    found = []
    for accumulate in (1, 2):
        run = tmp_path / str(accumulate)
        fit_tiny(tiny_dataset, run, stop_at=5, batch=4, accumulate=accumulate)
        found.append(load_file(run / "state" / "step-00000005" / "networks.safetensors"))
    one, two = found
    for key in (key for key in one if key.endswith("weight")):  # biases before a norm: see test_distributed
        assert one[key].dtype == torch.float64
        torch.testing.assert_close(two[key], one[key], rtol=1e-9, atol=1e-12)


def test_bfloat16(tiny_dataset: Path, tmp_path: Path) -> None:
    assert fit_tiny(tiny_dataset, tmp_path / "run", stop_at=2, precision="bf16-mixed").step == 2
    assert {value.dtype for value in load_file(tmp_path / "run" / "model.safetensors").values()} == {torch.float32}


# ----------------------------------------------------------------------------------- going on in a folder, or not


def test_other_settings_are_refused(run: Path, tiny_dataset: Path) -> None:
    with pytest.raises(ConfigError, match=r"other settings: batch \(2 there, 3 now\), beta1 \(0.5 there, 0.6 now\)"):
        fit_tiny(tiny_dataset, run, ema=0.9, sample_every=20, batch=3, beta1=0.6)


def test_other_data_are_refused(run: Path, tiny_dataset: Path) -> None:
    config = tiny_config(ema=0.9, sample_every=20)
    data = tiny_data(tiny_dataset, config)
    assert data.validation is not None
    with pytest.raises(ConfigError, match="begun on other data: samples 7 there, 2 now"):
        fit(pix2pixhd, config, replace(data, training=data.validation), run)
    assert data.space is not None
    turned = data.space.model_copy(update={"classes": data.space.classes[::-1]})
    with pytest.raises(ConfigError, match="begun on other data: label_space"):
        fit(pix2pixhd, config, replace(data, space=turned), run)
    assert isinstance(data.training, SemanticDataset)
    renamed = SemanticDataset(
        [replace(s, name=f"other-{s.name}") for s in data.training.samples],
        data.space,
        data.training.preprocessing,
        training=True,
    )
    with pytest.raises(ConfigError, match="begun on other data: names"):
        fit(pix2pixhd, config, replace(data, training=renamed), run)


def test_settings_that_may_change(copy: Path, tiny_dataset: Path) -> None:
    others = {
        "workers": 1,
        "log_every": 5,
        "sample_every": 7,
        "best_by": "val_pyramid",
        "save_every": 9,
        "keep": 1,
        "lr": 1e-4,
        "precision": "32",
        "checkpoint_activations": True,
        "channels_last": True,
        "compile": False,
        "cache": 0.1,
    }
    assert others.keys() == FREE_TO_CHANGE
    shutil.rmtree(states(copy / "state")[-1])  # so that there are steps left to take with them
    assert fit_tiny(tiny_dataset, copy, ema=0.9, **others).finished
    assert json.loads((copy / "config.json").read_text())["keep"] == 1


def test_a_run_in_channels_last_goes_on_as_if_it_had_not_been_interrupted(tiny_dataset: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit_tiny(tiny_dataset, whole, channels_last=True, stop_at=6)
    for stop in (3, 6):
        fit_tiny(tiny_dataset, parts, channels_last=True, stop_at=stop)
    for name in ("networks", "optimizers"):
        one, other = (load_file(states(run / "state")[-1] / f"{name}.safetensors") for run in (whole, parts))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name


@pytest.mark.parametrize(
    ("changes", "wanted"), [({}, True), ({"warp_layout": 0.3}, True), ({"instance_features": True}, False)]
)
def test_generators_see_codes_where_that_is_faster(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], wanted: bool
) -> None:
    seen: list[bool] = []
    step = pix2pixhd.train_step

    def watched(config: Any, players: Any, optimizers: Any, parts: Any, *others: Any, **more: Any) -> Any:
        seen.extend("codes" in part for part in parts)
        return step(config, players, optimizers, parts, *others, **more)

    monkeypatch.setattr(pix2pixhd, "train_step", watched)
    fit_tiny(tiny_dataset, tmp_path / "run", stop_at=2, **changes)
    assert seen == [wanted, wanted]


def test_a_folder_without_a_state_may_be_begun_anew(copy: Path, tiny_dataset: Path) -> None:
    shutil.rmtree(copy / "state")
    assert fit_tiny(tiny_dataset, copy, batch=3, stop_at=1).step == 1
    assert [line["step"] for line in losses(copy)] == [1]


def test_log_lines_cut_off_or_beyond_the_state_are_dropped(copy: Path, tiny_dataset: Path, run: Path) -> None:
    shutil.rmtree(states(copy / "state")[-1])
    with (copy / "log.jsonl").open("a") as file:
        file.write('{"step": 29, "G_gan": 1.0}\n{"step": 30, "G_g')
    fit_tiny(tiny_dataset, copy, ema=0.9, sample_every=20)
    assert [line["step"] for line in losses(copy)] == list(range(1, STEPS + 1))
    assert same_model(copy, run)


@pytest.mark.parametrize("part", ["networks", "optimizers"])
def test_a_state_that_lacks_a_part(copy: Path, tiny_dataset: Path, part: str) -> None:
    (states(copy / "state")[-1] / f"{part}.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"step-00000028 is damaged .*Delete that folder"):
        fit_tiny(tiny_dataset, copy, ema=0.9)
    shutil.rmtree(states(copy / "state")[-1])
    assert fit_tiny(tiny_dataset, copy, ema=0.9).finished


def test_a_damaged_config(copy: Path, tiny_dataset: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is damaged"):
        fit_tiny(tiny_dataset, copy, ema=0.9)


# ------------------------------------------------------------------------------------------------------------- guards


def recipe_with(spoil: Any) -> Recipe:
    """The pix2pixHD recipe, but `spoil` sees the losses and networks after every step."""
    steps = iter(range(1, 1000))

    def train_step(config: Any, players: Any, optimizers: Any, parts: Any, engine: Any) -> dict[str, Tensor]:
        losses = pix2pixhd.train_step(config, players, optimizers, parts, engine)
        spoil(next(steps), losses, players)
        return losses

    members = {name: getattr(pix2pixhd, name) for name in dir(pix2pixhd)}
    return cast(Recipe, SimpleNamespace(**{**members, "train_step": train_step}))


def spoil_loss(step: int, losses: dict[str, Tensor], players: Any) -> None:
    if step == 5:
        losses["G_features"] = losses["G_features"] * float("nan")


def spoil_weight(step: int, losses: dict[str, Tensor], players: Any) -> None:
    if step == 6:
        with torch.no_grad():
            next(iter(players.trained["discriminator"].parameters())).view(-1)[0] = float("inf")


@pytest.mark.long
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_loss, r"loss G_features became infinite or not a number between steps 4 and 5.*the command again"),
        (spoil_weight, r"Weights of the discriminator became infinite or not a number by step 6.*the command again"),
    ],
)
def test_what_is_not_finite_stops_the_training(tiny_dataset: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    run, config = tmp_path / "run", tiny_config()
    with pytest.raises(TrainingError, match=message):
        fit(recipe_with(spoil), config, tiny_data(tiny_dataset, config), run, device="cpu")
    assert [path.name for path in states(run / "state")] == ["step-00000003"]
    assert load_model(run / "model.safetensors").info.step == 3
    assert fit_tiny(tiny_dataset, run).finished  # what was saved is good


def add_noise(step: int, losses: dict[str, Tensor], players: Any) -> None:
    losses["noise"] = torch.rand(())


def test_noise_is_a_function_of_seed_and_step(tiny_dataset: Path, tmp_path: Path) -> None:
    config, found = tiny_config(), []
    for name, stops in (("whole", [6]), ("parts", [2, 5, 6])):
        torch.rand(len(stops))  # what is drawn elsewhere does not matter
        for stop in stops:
            data = tiny_data(tiny_dataset, config)
            fit(recipe_with(add_noise), config, data, tmp_path / name, device="cpu", stop_at=stop)
        found.append([line["noise"] for line in losses(tmp_path / name)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


def test_a_learning_rate_that_is_far_too_high(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="became infinite or not a number"):
        fit_tiny(tiny_dataset, tmp_path / "run", lr=1e30)
    assert not list(tmp_path.rglob("*.safetensors"))


def damaged(tiny_dataset: Path, folder: Path, kind: str) -> tuple[Path, Path]:
    """A copy of the data with one bad file, which is none of the fixed samples: it is met by the loader first."""
    root = Path(shutil.copytree(tiny_dataset, folder / "data"))
    if kind == "text":
        path = root / "train" / "labels" / "scene5.png"
        path.write_text("not a picture")
    elif kind == "value":
        path = root / "train" / "labels" / "scene5.png"
        Image.fromarray(np.full((32, 64), 200, np.uint8)).save(path)
    else:
        (root / "train" / "images" / "scene5.png").unlink()
        path = root / "train" / "images" / "scene5.jpg"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:1200])
    return root, path


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("kind", "error", "remedy"),
    [
        ("text", DataError, "save it as 8- or 16-bit PNG"),
        ("value", LabelError, r"holds values .* 200 \(2048 pixels\)"),
        ("jpeg", DataError, "damaged or incomplete: fetch it again"),
    ],
)
def test_a_bad_file_is_named_once(
    tiny_dataset: Path, tmp_path: Path, kind: str, error: type[Exception], remedy: str, workers: int
) -> None:
    root, path = damaged(tiny_dataset, tmp_path, kind)
    with pytest.raises(error, match=remedy) as raised:
        fit_tiny(root, tmp_path / "run", workers=workers, sample_every=1000)
    assert str(raised.value).startswith(str(path))
    assert "Traceback" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_sources_of_differing_channels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("sources", "images"):
        (tmp_path / folder).mkdir()
    for name, shape in (("a", (16, 16)), ("b", (16, 16, 3))):
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / "sources" / f"{name}.png")
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.png")
    from gesso.cli.common import DataFlags
    from gesso.cli.train import open_data

    config = tiny_config(height=16, width=16, batch=1)
    flags = DataFlags(sources=tmp_path / "sources", images=tmp_path / "images")
    data = open_data(pix2pixhd, config, None, flags, "train", "val")
    assert data.semantics.channels == 1
    with pytest.raises(DataError, match="source pictures b have 3 channels, the networks take 1"):
        fit(pix2pixhd, config, data, tmp_path / "run", device="cpu")


def test_devices() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    for absent in ("tpu", "cpu:0", "cuda:99", "cuda:", "cuda:x"):
        with pytest.raises(ConfigError, match=f"Device '{absent}' is not available.*auto, or one of: .*cpu"):
            choose_device(absent)


# --------------------------------------------------------------------------------------------------- log and pictures


def test_a_plain_terminal_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setattr("gesso.train_log.PLAIN_SECONDS", 0.0)
    with (tmp_path / "said.txt").open("w") as file:
        log = RunLog(tmp_path / "run", 0, 10, Console(file=file))
        log.add({"G_gan": torch.tensor(1.5)}, 4, 0.1)
        log.add({"G_gan": torch.tensor(2.5)}, 4, 0.1)
        log.flush(2, {"epoch": 0.5})
        log.flush(2, {"epoch": 0.5})  # nothing new
        log.close()
    said = (tmp_path / "said.txt").read_text()
    assert said.startswith("step 2 of 10  G_gan 2.000  ")
    assert said.count("\n") == 1
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["G_gan"] == 2.0


def test_to_uint8_clips_and_rounds() -> None:
    values = torch.tensor([-1.2, -1.0, 0.0, 0.999, 1.0, 3.0]).reshape(1, 1, 6).expand(3, 1, 6)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]
    assert to_uint8(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)


def test_sheet() -> None:
    red, blue = (np.full((8, 6, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    page = np.asarray(sheet([[red, blue], [blue, red]]))
    assert page.shape == (2 * 8 + 3 * 4, 2 * 6 + 3 * 4, 3)
    assert page[4, 4].tolist() == [255, 0, 0]
    assert page[4, 4 + 6 + 4].tolist() == [0, 0, 255]
    assert page[4 + 8 + 4, 4].tolist() == [0, 0, 255]
    titled = np.asarray(sheet([[red, blue]], ["left", "right"], ["first"]))
    assert titled.shape[0] > 8 + 2 * 4 + 20
    assert (titled[-5, 4] == [255, 0, 0]).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine")
def test_a_run_goes_on_on_a_gpu(tiny_dataset: Path, tmp_path: Path) -> None:
    config = tiny_config()
    data = tiny_data(tiny_dataset, config)
    assert fit(pix2pixhd, config, data, tmp_path / "run", device="cuda", stop_at=3).step == 3
    assert fit(pix2pixhd, config, data, tmp_path / "run", device="cuda").finished
