"""Do styles mean what they should? On toy scenes, where the truth is known; and, on any photographs, do they help?

Example: python benchmarks/styles_on_toy.py model.safetensors SCENES --out styles-on-toy
On other data: python benchmarks/styles_on_toy.py model.safetensors DATASET --only reconstruction
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from cyclopts import App, Parameter
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from style_measures import (
    Figure,
    Seeing,
    angle_between,
    feature_distance,
    hue_and_lightness,
    mean_angle,
    purity,
    read_truth,
)
from torch import Tensor, nn

from gesso.checkpoints import Model, load_model
from gesso.cli.common import DataFlags, track
from gesso.cli.styles import open_photographs
from gesso.data.dataset import SemanticDataset
from gesso.devices import choose_device
from gesso.errors import ConfigError, DataError, GessoError
from gesso.labels import colourise
from gesso.networks.pix2pixhd import InstanceEncoder, initialise
from gesso.pictures import Picture, sheet, to_uint8
from gesso.synthesis.style import Style
from gesso.synthesis.styles import Census, Clusters, cluster, collect, k_means, require_encoder
from gesso.synthesis.synthesizer import Synthesizer

Section = Literal["clusters", "surface", "hue", "locality", "reconstruction", "pictures"]
ALL: tuple[Section, ...] = ("clusters", "surface", "hue", "locality", "reconstruction", "pictures")
CHROMATIC = ("red", "yellow", "blue")  # white and black have no hue
SMALLEST = 32  # pixels of a car that counts
SURROUNDINGS = 16  # pixels around a car
UNTRAINED = 3  # encoders with other initial weights
DRAWS = 2  # random styles of each held-out photograph
Item = dict[str, Any]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Study:
    """What every section needs.

    Attributes:
        model: With an encoder.
        known: Photographs that clusters come from.
        held_out: Photographs that training has not seen.
        census: The objects of `known`.
        truth: The toy world's own record of each scene of both, by name; empty for other data.
        vgg_weights: Published VGG-19 weights, if at hand.
        console: Where progress goes.
        out: Folder for pictures.
    """

    model: Model
    known: SemanticDataset
    held_out: SemanticDataset
    census: Census
    truth: Mapping[str, Mapping[str, Any]]
    vgg_weights: Path | None
    console: Console
    out: Path

    def index(self, name: str) -> int:
        space = self.model.info.label_space
        assert space is not None
        return space.index(name)

    def wearing(self, clusters: Mapping[int, Clusters]) -> Synthesizer:
        """The model with these clusters as its modes."""
        styles: dict[str, Tensor] = {}
        for index, found in clusters.items():
            styles[f"{index}.centres"] = torch.from_numpy(found.centres)
            styles[f"{index}.sizes"] = torch.from_numpy(found.sizes)
        device = str(next(self.model.networks["generator"].parameters()).device)
        return Synthesizer(replace(self.model, styles=styles), device)

    def items(self, what: str) -> Iterable[Item]:
        numbers = range(len(self.held_out))
        return (self.held_out[i] for i in track(numbers, what, len(self.held_out), self.console))


def styles_on_toy(
    model: Path,
    data: Path,
    *,
    out: Path = Path("styles-on-toy"),
    only: Annotated[tuple[Section, ...], Parameter(consume_multiple=True)] = ALL,
    split: str = "train",
    held_out: str = "val",
    photographs: int = 600,
    layouts: int = 24,
    vgg_weights: Path | None = None,
    device: str = "auto",
) -> None:
    """Hold a model's styles against the truth of the toy world.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso, trained with features.
    data: Path
        Folder written by gesso toy, best with --time day; any dataset with photographs for --only reconstruction.
    out: Path
        Folder for figures.json and pictures.
    only: tuple
        Some of the sections.
    split: str
        Part of DATA that clusters come from.
    held_out: str
        Part of DATA that photographs are made of.
    photographs: int
        How many of the first part at most.
    layouts: int
        How many of the second part at most.
    vgg_weights: Path
        Published VGG-19 weights for the feature distance; without them the features are those of random weights.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    """
    if min(photographs, layouts) < 1:
        raise ConfigError(f"--photographs {photographs} --layouts {layouts}: both are at least 1.")
    console = Console()
    loaded = load_model(model, choose_device(device))
    encoder, regions = require_encoder(loaded)
    parts, truth = {}, {}
    for part, limit in ((split, photographs), (held_out, layouts)):
        found = read_truth(data / part) if set(only) - {"reconstruction"} else {}
        parts[part] = of_one_time(open_photographs(loaded, data, DataFlags(), part), found, limit)
        truth |= found
    out.mkdir(parents=True, exist_ok=True)
    census = encoded(encoder, parts[split], regions, "encoding photographs", console)
    study = Study(loaded, parts[split], parts[held_out], census, truth, vgg_weights, console, out)
    figures = [figure for section in dict.fromkeys(only) for figure in SECTIONS[section](study)]
    console.print(shown(figures, study))
    document = {
        "model": loaded.hash,
        "steps": loaded.info.step,
        "data": {"name": data.resolve().name, "photographs": len(study.known), "held out": len(study.held_out)},
        "figures": [{**asdict(figure), "aim": figure.aim} for figure in figures],
    }
    (out / "figures.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(f"figures and pictures are in {out}", soft_wrap=True)


def of_one_time(data: SemanticDataset, truth: Mapping[str, Mapping[str, Any]], limit: int) -> SemanticDataset:
    """The first samples of the most frequent time of day, as light changes every colour; the first ones without truth."""
    samples = data.samples
    if truth:
        times = Counter(truth[sample.name]["time_of_day"] for sample in samples)
        samples = tuple(s for s in samples if truth[s.name]["time_of_day"] == times.most_common(1)[0][0])
    return SemanticDataset(samples[:limit], data.space, data.preprocessing, training=False, instances=data.instances)


def encoded(encoder: nn.Module, items: SemanticDataset, regions: Any, what: str, console: Console) -> Census:
    """The objects of all photographs, with a progress bar."""
    assert items.space is not None
    bar = iter(track(range(len(items)), what, len(items), console))
    census = collect(encoder, items, regions, len(items.space), lambda *_: next(bar, None))
    next(bar, None)
    return census


def shown(figures: Iterable[Figure], study: Study) -> Table:
    """The figures as a table."""
    title = f"{study.model.info.step} steps; {len(study.known)} photographs, {len(study.held_out)} held out"
    table = Table("section", "what", "figure", "aim", title=title)
    for figure in figures:
        table.add_row(figure.section, figure.name, f"{figure.value:.4g}", figure.aim)
    return table


# ------------------------------------------------------------------------------------------- clusters against the truth


def rivals(study: Study) -> dict[str, list[Floats]]:
    """Vectors of the same objects, in the same order: the encoder's, mean colours, and those of untrained encoders."""
    encoder, regions = require_encoder(study.model)
    place = next(encoder.parameters()).device
    arguments = study.model.info.networks["encoder"].arguments
    others: dict[str, list[nn.Module]] = {"mean colour": [Seeing()], "untrained encoder": []}
    for seed in range(UNTRAINED):
        random = torch.Generator().manual_seed(seed)
        others["untrained encoder"].append(initialise(InstanceEncoder(**arguments), random).eval())
    found = {"encoder": [study.census.vectors]}
    for name, networks in others.items():
        found[name] = [encoded(n.to(place), study.known, regions, name, study.console).vectors for n in networks]
    return found


def compared(
    study: Study, section: str, name: str, rows: Any, truth: Sequence[str], aims: Sequence[Any]
) -> Iterable[Figure]:
    """Purity and adjusted Rand index of K-means with as many clusters as there are true styles."""
    from sklearn.metrics import adjusted_rand_score

    count = len(set(truth))
    yield Figure(section, f"{name}: objects, of {count} styles", len(truth))
    yield Figure(section, f"{name}: purity of one cluster of all", Counter(truth).most_common(1)[0][1] / len(truth))
    for rival, versions in rivals(study).items():
        found = [k_means(vectors[rows], count)[1] for vectors in versions]
        pure = float(np.mean([purity(assigned, truth) for assigned in found]))
        rand = float(np.mean([adjusted_rand_score(truth, assigned) for assigned in found]))
        first, second = aims if rival == "encoder" else (None, None)
        yield Figure(section, f"{name}: purity, {rival}", pure, first)
        yield Figure(section, f"{name}: adjusted Rand index, {rival}", rand, second)


def style_of(study: Study, name: str, number: int) -> str:
    """The true style of an object."""
    return str(next(o["style"] for o in study.truth[name]["objects"] if o["instance"] == number))


def true_cars(study: Study) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Rows of the census that are cars of enough pixels, and their true colours."""
    census = study.census
    rows = np.flatnonzero((census.classes == study.index("car")) & (census.areas >= SMALLEST))
    return rows, [style_of(study, census.names[census.items[row]], int(census.ids[row])) for row in rows]


def clusters(study: Study) -> Iterable[Figure]:
    """Clusters of cars against their true colours."""
    rows, truth = true_cars(study)
    yield from compared(study, "clusters", "cars", rows, truth, (0.9, 0.7))


def surface(study: Study) -> Iterable[Figure]:
    """Clusters of roads against their true surfaces, whose mean colours are equal."""
    census = study.census
    rows = np.flatnonzero(census.classes == study.index("road"))
    truth = [str(study.truth[census.names[census.items[row]]]["road_surface"]) for row in rows]
    yield from compared(study, "surface", "roads", rows, truth, (0.8, None))


# ------------------------------------------------------------------------------------------------- modes that were made


def car_modes(study: Study) -> tuple[Synthesizer, list[str]]:
    """The model with as many modes of cars as there are colours; and the most frequent true colour of each mode."""
    rows, truth = true_cars(study)
    car = study.index("car")
    found = cluster(study.census, modes=len(set(truth)), minimum_area=SMALLEST, only=[car])
    centres = found[car].centres
    nearest = ((study.census.vectors[rows][:, None] - centres[None]) ** 2).sum(-1).argmin(1)
    colours = [
        Counter(t for t, k in zip(truth, nearest, strict=True) if k == mode).most_common(1)[0][0]
        for mode in range(len(centres))
    ]
    return study.wearing(found), colours


def own_style(synth: Synthesizer, item: Item) -> Style:
    """The style of a sample's own photograph."""
    return synth.encode(to_uint8(item["image"]), *layout(item))


def layout(item: Item) -> tuple[Any, Any]:
    return item["label"].numpy(), item["instance"].numpy() if "instance" in item else None


def made(synth: Synthesizer, item: Item, style: Style) -> Picture:
    return synth(*layout(item), style=style)


def cars_of(study: Study, item: Item) -> dict[int, npt.NDArray[np.bool_]]:
    """Masks of the cars of enough pixels, by id, the largest first."""
    label, instance = layout(item)
    ids, areas = np.unique(instance[label == study.index("car")], return_counts=True)
    order = [int(ids[i]) for i in np.argsort(-areas, kind="stable") if areas[i] >= SMALLEST]
    return {number: (label == study.index("car")) & (instance == number) for number in order}


def real_colours(study: Study) -> dict[str, tuple[list[float], list[float]]]:
    """Hues and lightnesses of real cars by their true colour."""
    seen: dict[str, tuple[list[float], list[float]]] = {}
    for number in track(range(len(study.known)), "measuring real cars", len(study.known), study.console):
        item = study.known[number]
        for car, mask in cars_of(study, item).items():
            hues, lights = seen.setdefault(style_of(study, item["name"], car), ([], []))
            hue, light = hue_and_lightness(to_uint8(item["image"]), mask)
            hues.append(hue)
            lights.append(light)
    return seen


def hue(study: Study) -> Iterable[Figure]:
    """Whether cars of a mode have the hue of the real cars in it."""
    synth, colours = car_modes(study)
    real = real_colours(study)
    errors: dict[str, list[float]] = {}
    for item in study.items("generating cars"):
        base, cars = own_style(synth, item), cars_of(study, item)
        for mode, colour in enumerate(colours if cars else ()):
            picture = made(synth, item, base.updated(Style(classes={"car": mode})))
            for mask in cars.values():
                hue_, light = hue_and_lightness(picture, mask)
                chromatic = colour in CHROMATIC
                wanted = mean_angle(real[colour][0]) if chromatic else float(np.mean(real[colour][1]))
                gap = angle_between(hue_, wanted) if chromatic else abs(light - wanted)
                errors.setdefault(colour, []).append(gap)
    yield Figure("hue", "colours that are the main one of a mode", len(set(colours)), len(real))
    for colour, gaps in sorted(errors.items()):
        unit = "degrees of hue" if colour in CHROMATIC else "of 255 in lightness"
        yield Figure("hue", f"{colour}: mean error, {unit} ({len(gaps)} cars)", float(np.mean(gaps)))
    chromatic = [gap for colour in CHROMATIC for gap in errors.get(colour, ())]
    spread = [angle_between(h, mean_angle(real[c][0])) for c in CHROMATIC if c in real for h in real[c][0]]
    yield Figure("hue", "real cars from the mean hue of their colour, degrees", float(np.mean(spread)))
    yield Figure("hue", "mean error of generated cars, degrees", float(np.mean(chromatic or [180.0])), at_most=20)


def locality(study: Study) -> Iterable[Figure]:
    """How far a change of one car's mode reaches."""
    synth, colours = car_modes(study)
    random = np.random.default_rng(0)
    measured = []
    for item in study.items("changing cars"):
        base = own_style(synth, item)
        for number, mask in list(cars_of(study, item).items())[:2]:
            one, other = random.choice(len(colours), 2, replace=False).tolist()
            first, second = (
                made(synth, item, base.updated(Style(instances={f"car:{number}": mode}))).astype(float)
                for mode in (one, other)
            )
            change = np.abs(first - second).mean(-1)
            near = ndimage.distance_transform_edt(~mask) <= SURROUNDINGS
            measured.append((change[~near].mean(), change[near].mean(), change[mask].mean()))
    if not measured:
        raise DataError(f"The held-out layouts show no car of {SMALLEST} pixels: give more of them with --layouts.")
    outside, near, inside = np.mean(measured, axis=0)
    yield Figure("locality", "cars whose mode was changed", len(measured))
    yield Figure("locality", f"mean change beyond {SURROUNDINGS} pixels around, of 255", float(outside), at_most=8)
    yield Figure("locality", "within them, in multiples of that beyond", float(near / max(outside, 1e-9)), 3)
    yield Figure("locality", "in the car alone, in multiples of that beyond", float(inside / max(outside, 1e-9)), 3)


# --------------------------------------------------------------------------------------------------- for any photographs


def reconstruction(study: Study) -> Iterable[Figure]:
    """Photographs from their own features against photographs in random modes."""
    published, every = (cluster(study.census, minimum_area=area) for area in (None, 1))
    synths = {
        "random modes": study.wearing(published),
        "random modes, every class": study.wearing({**every, **published}),
    }
    device = next(study.model.networks["generator"].parameters()).device
    name, distance = feature_distance(study.vgg_weights, device)
    found: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for item in study.items("reconstructing photographs"):
        real, any_synth = to_uint8(item["image"]), next(iter(synths.values()))
        pictures = {"own features": [made(any_synth, item, own_style(any_synth, item))]}
        for what, synth in synths.items():
            pictures[what] = [made(synth, item, Style(seed=seed)) for seed in range(DRAWS)]
        for what, drawn in pictures.items():
            gaps = [(np.abs(p.astype(float) - real).mean(), distance(p, real)) for p in drawn]
            found.setdefault(what, []).append(tuple(np.mean(gaps, axis=0).tolist()))
        rows.append([real, *(drawn[0] for drawn in pictures.values())])
    picture = sheet(rows[:8], ["photograph", *pictures])
    picture.save(study.out / "reconstruction.png")
    for column, unit in enumerate(("mean absolute difference, of 255", name)):
        for what, gaps in found.items():
            yield Figure("reconstruction", f"{what}: {unit}", float(np.mean(gaps, axis=0)[column]))
        for what in synths:
            pairs = zip(found["own features"], found[what], strict=True)
            better = float(np.mean([own[column] < other[column] for own, other in pairs]))
            yield Figure("reconstruction", f"share of photographs nearer than in {what}: {unit}", better, 0.5)
            ratio = np.mean(found["own features"], axis=0)[column] / np.mean(found[what], axis=0)[column]
            yield Figure("reconstruction", f"own features to {what}: {unit}", float(ratio), at_most=1)


def pictures(study: Study) -> Iterable[Figure]:
    """One layout in 8 styles; and a grid of car modes and layouts."""
    items = sorted(
        study.items("choosing layouts"), key=lambda item: -sum(m.sum() for m in cars_of(study, item).values())
    )
    space = study.model.info.label_space
    assert space is not None
    synth = study.wearing(cluster(study.census, minimum_area=SMALLEST))
    eight = [made(synth, items[0], Style(seed=seed)) for seed in range(8)]
    shown = [colourise(items[0]["label"].numpy(), space), to_uint8(items[0]["image"]), *eight]
    titles = ["layout", "photograph", *(f"style {seed}" for seed in range(8))]
    Image.fromarray(
        np.asarray(sheet([shown[:5], shown[5:]], captions=[", ".join(titles[:5]), ", ".join(titles[5:])]))
    ).save(study.out / "eight-styles.png")
    synth, colours = car_modes(study)
    rows = [
        [to_uint8(item["image"])]
        + [made(synth, item, own_style(synth, item).updated(Style(classes={"car": k}))) for k in range(len(colours))]
        for item in items[:4]
    ]
    sheet(rows, ["photograph", *(f"mode {k}: {colour}" for k, colour in enumerate(colours))]).save(
        study.out / "car-modes.png"
    )
    return []


SECTIONS: dict[str, Callable[[Study], Iterable[Figure]]] = {
    "clusters": clusters,
    "surface": surface,
    "hue": hue,
    "locality": locality,
    "reconstruction": reconstruction,
    "pictures": pictures,
}


def main() -> None:
    app = App(help_format="plaintext")
    app.default(styles_on_toy)
    try:
        app()
    except GessoError as error:
        print(f"styles_on_toy: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
