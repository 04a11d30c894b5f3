"""What speed is measured against computes what gesso computes; the bench starts, measures and compares."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso.errors import DataError
from gesso.labels import Semantics
from gesso.networks import pix2pixhd, spade
from gesso.recipes import pix2pixhd as pix2pixhd_recipe
from gesso.recipes import spade as spade_recipe
from gesso.recipes.protocol import Players
from support import PlainEngine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CLASSES = 4
CHANNELS = CLASSES + 1


@pytest.fixture(autouse=True)
def fixed_random_numbers(one_thread: None) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@contextmanager
def importable(name: str, *parts: str) -> Iterator[SimpleNamespace]:
    """A package of benchmarks/, which is no place to import from, and modules of it."""
    folder = BENCHMARKS / name
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    whole = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(whole)
    found = {part: importlib.import_module(f"{name}.{part}") for part in parts}
    yield SimpleNamespace(**vars(whole) | found)
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture(scope="module")
def reference() -> Iterator[SimpleNamespace]:
    with importable("reference", "pix2pixhd", "spade", "steps") as found:
        yield found


@pytest.fixture(scope="module")
def contest() -> Iterator[SimpleNamespace]:
    with importable("contest", "cases", "layouts", "report") as found:
        yield found


def layout(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Patches of 4x4, each an instance of a random class."""
    label = torch.randint(CLASSES, (batch, height // 4, width // 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    instance = (
        torch.arange(height * width // 16).view(1, height // 4, -1).repeat_interleave(4, 1).repeat_interleave(4, 2)
    )
    return label, instance.expand_as(label)


def semantics(height: int, width: int, batch: int = 1) -> Tensor:
    label, instance = layout(height, width, batch)
    return Semantics(classes=CLASSES, boundary=True).encode({"label": label, "instance": instance})


# ----------------------------------------------------------------------------------------------------------- networks


def test_semantics_are_the_same(reference: Any) -> None:
    label = torch.randint(CLASSES, (2, 9, 13))
    instance = torch.randint(3, (2, 9, 13))
    ours = Semantics(classes=CLASSES, boundary=True).encode({"label": label, "instance": instance})
    torch.testing.assert_close(reference.semantics_of(label, instance, CLASSES), ours, rtol=0, atol=0)


def generators(reference: Any, name: str) -> tuple[nn.Module, nn.Module, tuple[int, int], bool]:
    """The reference's, gesso's, a size, and whether they begin from z."""
    hd = {"width": 4, "downs": 2, "blocks": 2}
    small = {"width": 4, "hidden": 6}
    latent = {"latent": 5, "latent_grid": (1, 2)}
    made: dict[str, Callable[[], tuple[nn.Module, nn.Module, tuple[int, int], bool]]] = {
        "pix2pixhd global": lambda: (
            reference.pix2pixhd.GlobalGenerator(CHANNELS, **hd),
            pix2pixhd.GlobalGenerator(in_channels=CHANNELS, **hd),
            (24, 32),
            False,
        ),
        "pix2pixhd local": lambda: (
            reference.pix2pixhd.LocalGenerator(CHANNELS, **hd),
            pix2pixhd.CoarseToFineGenerator(in_channels=CHANNELS, **hd),
            (32, 48),
            False,
        ),
        **{
            f"spade {up}": lambda up=up: (
                reference.spade.Generator(CHANNELS, **small, upsampling=up),
                spade.SpadeGenerator(in_channels=CHANNELS, **small, upsampling=up, norm="sync_batch"),
                (128, 256) if up == "most" else (64, 128),
                False,
            )
            for up in ("normal", "more", "most")
        },
        "spade from z": lambda: (
            reference.spade.Generator(CHANNELS, **small, **latent),
            spade.SpadeGenerator(in_channels=CHANNELS, **small, **latent, upsampling="more", norm="sync_batch"),
            (64, 128),
            True,
        ),
    }
    return made[name]()


@pytest.mark.parametrize(
    "name", ["pix2pixhd global", "pix2pixhd local", "spade normal", "spade more", "spade most", "spade from z"]
)
def test_generators_are_the_same(reference: Any, name: str) -> None:
    plain, ours, size, from_z = generators(reference, name)
    room = spade if name.startswith("spade") else pix2pixhd
    reference.hand_over(room.initialise(ours), plain)
    inputs = (semantics(*size), torch.randn(1, 5)) if from_z else (semantics(*size),)
    if room is spade:
        reference.spade.settle(plain, *inputs)
        reference.hand_over(plain, ours)
    with torch.inference_mode():
        wanted, found = plain.eval()(*inputs), ours.eval()(*inputs)
    assert wanted.shape == (1, 3, *size)
    assert wanted.std() > 0.01 if room is spade else wanted.std() > 1e-4  # it says something
    assert (wanted - found).abs().max() <= 1e-5 * wanted.abs().max()


def test_statistics_settle_on_what_is_seen(reference: Any) -> None:
    """Without them a random SPADE generator gives one gray."""
    plain = reference.spade.Generator(CHANNELS, width=4, hidden=6)
    reference.hand_over(
        spade.initialise(
            spade.SpadeGenerator(in_channels=CHANNELS, width=4, hidden=6, upsampling="more", norm="batch")
        ),
        plain,
    )
    seen = semantics(64, 128)
    reference.spade.settle(plain, seen)
    assert not plain.training
    assert {m.momentum for m in plain.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
    first = plain.blocks[0].first_norm.norm
    torch.testing.assert_close(first.running_mean, plain.start(nn.functional.interpolate(seen, (1, 2))).mean((0, 2, 3)))


def test_weights_of_other_networks_are_refused(reference: Any) -> None:
    plain = reference.pix2pixhd.GlobalGenerator(CHANNELS, width=4, downs=2, blocks=1)
    with pytest.raises(
        ValueError, match=r"a layer has .*'weight': \(16, 16, 3, 3\).* its counterpart .*\(16, 8, 3, 3\)"
    ):
        reference.hand_over(pix2pixhd.GlobalGenerator(in_channels=CHANNELS, width=4, downs=2, blocks=2), plain)
    spectral, other = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(1, 2, 3))), nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match=r"a layer has .*'u'.* its counterpart"):
        reference.hand_over(spectral, other)
    with pytest.raises(ValueError, match="zip"):
        reference.hand_over(other, nn.Sequential(*other, nn.Conv2d(2, 2, 1)))


# -------------------------------------------------------------------------------------------------------------- steps


def pix2pixhd_players(reference: Any) -> tuple[Any, Any, Players, list[nn.Module]]:
    config = pix2pixhd_recipe.Config(
        generator_width=4,
        generator_downs=2,
        generator_blocks=1,
        discriminator_width=4,
        discriminator_scales=3,
        enhancers=1,
    )
    plain = [
        reference.pix2pixhd.LocalGenerator(CHANNELS, width=4, downs=2, blocks=1),
        reference.pix2pixhd.Discriminator(CHANNELS + 3, width=4, scales=3),
    ]
    return pix2pixhd_recipe, config, pix2pixhd_recipe.build(config, Semantics(classes=CLASSES, boundary=True)), plain


def spade_players(reference: Any) -> tuple[Any, Any, Players, list[nn.Module]]:
    config = spade_recipe.Config(generator_width=4, hidden=6, discriminator_width=4, upsampling="normal")
    plain = [
        reference.spade.Generator(CHANNELS, width=4, hidden=6, upsampling="normal"),
        reference.spade.Discriminator(CHANNELS + 3, width=4),
    ]
    return spade_recipe, config, spade_recipe.build(config, Semantics(classes=CLASSES, boundary=True)), plain


@pytest.mark.parametrize("name", ["pix2pixhd", "spade"])
def test_steps_are_the_same(reference: Any, name: str) -> None:
    """Losses of 3 steps, and the weights that they lead to: in float64, but for biases whose gradient is noise."""
    made = {"pix2pixhd": pix2pixhd_players, "spade": spade_players}[name]
    recipe, config, ours, plain = made(reference)
    for network, own in zip(plain, ours.trained.values(), strict=True):
        reference.hand_over(own, network)
        network.double(), own.double()
    adams, optimizers = getattr(reference.steps, f"{name}_adams")(*plain), recipe.optimizers(config, ours)
    for number in range(3):
        given, image = semantics(32, 64).double(), torch.randn(1, 3, 32, 64, dtype=torch.float64)
        wanted = getattr(reference.steps, name)(*plain, adams, given, image)
        batch = {"semantics": given, "image": image}
        found = recipe.train_step(config, ours, optimizers, [batch], PlainEngine())
        for loss, value in wanted.items():
            torch.testing.assert_close(found[loss], value, rtol=1e-6, atol=0, msg=f"{loss} in step {number}")
    for network, own in zip(plain, ours.trained.values(), strict=True):
        for theirs, mine in zip(reference.tensors(network), reference.tensors(own), strict=True):
            for tensor in theirs.keys() - {"bias"}:
                torch.testing.assert_close(theirs[tensor], mine[tensor], rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------------------------------------------------- layouts


def test_toy_scenes_are_resized(contest: Any) -> None:
    scenes = contest.layouts.load(None, (64, 128), 3)
    assert [scene.label.shape for scene in scenes] == [(1, 64, 128)] * 3
    assert (
        0 <= min(int(s.label.min()) for s in scenes) and max(int(s.label.max()) for s in scenes) < contest.cases.CLASSES
    )


def test_real_layouts_are_taken_by_nearest_neighbour(contest: Any, cityscapes_sample: Path) -> None:
    large, small = (contest.layouts.load(cityscapes_sample, size, 2)[1] for size in ((1024, 2048), (256, 512)))
    assert torch.equal(large.label[:, ::4, ::4], small.label)
    assert torch.equal(large.instance[:, ::4, ::4], small.instance)
    assert len(small.instance.unique()) > len(small.label.unique()) > 8  # classes, and several cars


def test_folders_of_other_classes_are_refused(contest: Any, tiny_dataset: Path) -> None:
    with pytest.raises(DataError, match=r"has 0 instance maps .* at most 35 classes.* leave --layouts out"):
        contest.layouts.load(tiny_dataset, (32, 64), 1)


def test_no_two_rounds_have_the_same_layout(contest: Any) -> None:
    every = [contest.layouts.Layout(*(torch.randint(9, (1, 32, 256)) for _ in range(2))) for _ in range(3)]
    for wanted in (1, 2):
        seen = [layout for number in range(4) for layout in contest.layouts.of_round(every, number, wanted)]
        assert len(seen) == 4 * wanted
        assert len({layout.label.numpy().tobytes() for layout in seen}) == len(seen)


# -------------------------------------------------------------------------------------------------------------- report


def figures(contest: Any, ours: list[float], gemm: float = 275e9, **changes: Any) -> dict[str, Any]:
    """A document of one case: 5.9 s in each round for the reference, the seconds that are given for gesso."""
    case = next(case for case in contest.cases.CASES if case.name == "global")
    found = {
        "contenders": {
            "reference": {"seconds": [5.9] * len(ours), "arithmetic": 489e9, "difference": 0.0},
            "gesso": {"seconds": ours, "arithmetic": 400e9, "difference": 2e-7},
        },
        "gemm": {"float32": [gemm, gemm], "bfloat16": []},
        "layouts": "cityscapes_sample",
    }
    about = {"name": case.name, "title": case.title, "bar": case.bar, "memory": case.memory, "seconds": case.seconds}
    row = {**about, **contest.report.figures(found), **changes}
    return {"machine": {"device": "cpu"}, "quick": False, "cases": [row]}


def test_ratios_are_medians_over_rounds(contest: Any) -> None:
    row = figures(contest, [2.95, 5.9, 1.475])["cases"][0]["contenders"]["gesso"]
    assert (row["ratio"], row["low"], row["high"], row["median"]) == (2.0, 1.0, 4.0, 2.95)
    assert row["share"] == pytest.approx(2 * 400e9 / 2.95 / 275e9)


def said(contest: Any, document: dict[str, Any]) -> str:
    return "\n".join(contest.report.remarks(document))


def test_what_is_below_its_bar_is_said(contest: Any) -> None:
    assert "below" not in said(contest, figures(contest, [4.0]))
    assert "5.00 times" not in said(contest, figures(contest, [4.0]))
    assert "1.18 times as fast as the reference, below the bar of 1.4" in said(contest, figures(contest, [5.0]))
    heavy = figures(contest, [4.0], memory=1.6 * 2**30)
    heavy["cases"][0]["contenders"]["gesso"]["peak"] = 2 * 2**30
    assert "2.00 GiB at most, above the bar of 1.6 GiB" in said(contest, heavy)
    wrong = figures(contest, [4.0])
    wrong["cases"][0]["contenders"]["gesso"]["difference"] = 3e-5
    assert "differs from the reference by 3.0e-05" in said(contest, wrong)


def test_a_reference_out_of_line_is_said(contest: Any) -> None:
    """Scaled by what matrix products reach: half as fast a machine is fine, half as fast a reference is not."""
    assert "be wary" not in said(contest, figures(contest, [4.0], gemm=210e9))
    assert "be wary" in said(contest, figures(contest, [4.0], gemm=550e9))
    assert "took 5.90 s; from 5.9 s at 275 GFLOP/s 2.95 s were expected" in said(
        contest, figures(contest, [4.0], gemm=550e9)
    )


def test_what_is_missing_is_said(contest: Any) -> None:
    document = {
        "machine": {"device": "cpu"},
        "quick": False,
        "cases": [{"title": "int8", "missing": "No module named 'openvino'"}],
    }
    assert said(contest, document) == "int8: not there: No module named 'openvino'."
    assert contest.report.table(document).row_count == 1


def test_pictures_per_second_are_said_on_gpus(contest: Any) -> None:
    document = figures(contest, [0.02], name="local") | {"machine": {"device": "cuda"}}
    assert "pix2pixHD 1024x512, pictures per second: reference 0.2, gesso 50.0." in said(contest, document)


def test_what_has_become_slower_is_said(contest: Any) -> None:
    before = figures(contest, [2.8, 2.95, 3.1])
    assert contest.report.worse(before, figures(contest, [3.05])) == []  # within the spread
    assert contest.report.worse(before, figures(contest, [2.0])) == []  # faster
    assert contest.report.worse(before, figures(contest, [4.0])) == [
        "Slower: pix2pixHD 1024x512, gesso: ratio 1.48, before 2.00."
    ]
    with pytest.raises(ValueError, match="--quick"):
        contest.report.worse(before | {"quick": True}, before)


def test_files_that_hold_no_figures_are_refused(contest: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    for name in ("a.json", "none.json"):
        with pytest.raises(ValueError, match=rf"{name} holds no figures of an earlier run .* --json"):
            contest.report.read(tmp_path / name)


# ---------------------------------------------------------------------------------------------------------- the command


def run_bench(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GESSO_SHARED": "/nowhere"}
    command = [sys.executable, str(BENCHMARKS / "bench.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.long
def test_the_bench_measures_what_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    asked = ("--quick", "--only", "global", "--repeats", "2", "--threads", "1")
    done = run_bench(*asked, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "Layouts: toy scenes" in done.stdout
    document = json.loads(file.read_text())
    (measured,) = document["cases"]
    assert measured["name"] == "global"
    rows = measured["contenders"]
    assert rows.keys() == {"reference", "gesso"}
    assert all(len(row["seconds"]) == 2 and row["peak"] > 2**26 and row["arithmetic"] > 0 for row in rows.values())
    assert 0 < rows["gesso"]["low"] <= rows["gesso"]["ratio"] <= rows["gesso"]["high"]
    assert rows["gesso"]["difference"] < 1e-5


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    done = run_bench("--quick", "--only", "global", "--layouts", str(tmp_path))
    assert done.returncode == 1
    assert "pix2pixHD 1024x512: failed: " in done.stdout
    assert "Traceback" not in done.stderr


def test_unknown_cases_are_refused() -> None:
    done = run_bench("--only", "spades")
    assert done.returncode != 0
    assert "no case spades; choose of spade, spade-style" in done.stderr


def test_small_edits_are_measured_on_a_trained_model(contest: Any) -> None:
    editing = importlib.import_module("contest.editing")
    errors = editing.of_trained((64, 128), 1)
    assert errors["cached"]["mean"] > errors["renewed"]["mean"] > 0
    assert all(row["largest"] >= row["mean"] and row["estimate"] > 0 for row in errors.values())


def test_an_edit_is_small_and_changes_something(contest: Any) -> None:
    label, instance = layout(64, 128)
    before = contest.layouts.Layout(label, instance)
    for number in range(9):
        after = before.edited(number)
        share = float((after.instance != instance).float().mean())
        assert 0.005 < share < 0.02 and not torch.equal(after.label, label)
