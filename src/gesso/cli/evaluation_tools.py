"""What `gesso evaluate` measures with: a segmenter, features, a distance; and why something is not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gesso.cli.common import DataFlags
from gesso.cli.evaluation_data import Reference, open_training, origin_of, pairs_of
from gesso.cli.evaluation_settings import EvaluationSettings
from gesso.errors import ConfigError, LabelError

if TYPE_CHECKING:
    from torch import nn

    from gesso.data.dataset import SemanticDataset
    from gesso.data.pairing import Sample
    from gesso.evaluate.diversity import Distance
    from gesso.evaluate.features import FeatureExtractor
    from gesso.evaluate.measuring import Tools
    from gesso.labels import ByteArray, IntArray, LabelSpace
    from gesso.synthesis.segmenter import PhotoSegmenter, SegmenterInfo

NO_MAPS = "the input is a picture: there are no label maps to compare with"
PAINTED = "the models paint label maps, which are compared with the true ones class by class"
NO_FEATURES = (
    "there are no features: Inception's weights were not given (--inception-weights), and no segmenter was trained here"
)
NO_DISTANCE = "there is no distance: LPIPS's weights were not given, and no segmenter was trained here"
TOO_GOOD = "the scores of the real photographs are too good, and models look worse beside them than they are"
LEARNED = f"The segmenter learned from the photographs that are measured: {TOO_GOOD}. Measure another --split."
MAY_HAVE_LEARNED = (
    f"The segmenter learned from {{!r}}, which is what the photographs that are measured are called: it may have learned from "
    f"them, and then {TOO_GOOD}."
)
NO_PHOTOGRAPHS = "the data have no photographs of these layouts"


@dataclass(frozen=True)
class Instruments:
    """What one evaluation measures with.

    Attributes:
        tools: For pictures.
        distance: For styles; None where there is none.
        segmenter: Behind `tools`; None where there is none.
        name: Of what reads the classes.
        origin: What that learned from.
        remarks: What a reader must know of it before the numbers.
    """

    tools: Tools
    distance: Distance | None = None
    segmenter: PhotoSegmenter | None = None
    name: str = ""
    origin: str = ""
    remarks: tuple[str, ...] = ()


def open_instruments(
    reference: Reference,
    data: Path | None,
    flags: DataFlags,
    settings: EvaluationSettings,
    device: str,
    console: Console,
) -> Instruments:
    """Load or train what is measured with.

    Raises:
        ConfigError: A measure was asked for that there is nothing for.
        LabelError: The segmenter knows other classes than the data.
        WeightsError: Weights are missing, or are others.
        DataError: There is nothing to train a segmenter on.
        ModelFileError: The segmenter's file is missing or damaged.
    """
    from gesso.evaluate.measuring import Tools
    from gesso.evaluate.numbers import Sampling
    from gesso.evaluate.repetition import repetition

    if settings.set_size and settings.set_size > len(reference):
        raise ConfigError(f"--set-size {settings.set_size}: there are only {len(reference)} layouts.")
    sampling = Sampling(settings.resamples, settings.seed)
    if reference.kind == "painted":
        return _of_painted(reference, sampling)
    segmenter = open_segmenter(reference, data, flags, settings, device, console)
    extractor, distance = _extractor(segmenter, settings, device), _distance(segmenter, settings, device)
    reasons = _reasons(reference, settings, extractor is not None)
    tools = Tools(
        space=reference.space,
        segment=segmenter if reference.kind == "labels" else None,
        extractor=extractor if reference.photographs else None,
        repetition=repetition if reference.photographs else None,
        band=settings.band,
        neighbours=settings.neighbours,
        set_size=settings.set_size or 0,
        sampling=sampling,
        reasons=reasons,
    )
    used = segmenter if tools.segment else None
    if used is None:
        return Instruments(tools, distance, segmenter)
    remarks = tuple(filter(None, (_uncovered(used), leak(used, reference, data, flags, console))))
    for remark in remarks:
        _say(console, remark)
    return Instruments(tools, distance, segmenter, used.name, used.origin, remarks)


def _of_painted(reference: Reference, sampling: object) -> Instruments:
    """Pictures that show classes in their colours need no network to be read."""
    import numpy as np

    from gesso.evaluate.measuring import Tools
    from gesso.evaluate.numbers import Sampling
    from gesso.pictures import nearest_classes

    assert isinstance(sampling, Sampling)
    space = reference.space
    assert space is not None

    def read(pictures: ByteArray) -> IntArray:
        return np.stack([nearest_classes(picture, space) for picture in pictures])

    families = ("faithfulness", "distribution", "paired", "diversity", "repetition")
    tools = Tools(
        space, read, faithful=False, paired=False, sampling=sampling, reasons=dict.fromkeys(families, PAINTED)
    )
    return Instruments(tools, name="nearest colour", origin=f"the colours of {space.name}")


def _reasons(reference: Reference, settings: EvaluationSettings, features: bool) -> dict[str, str]:
    """Why something is not measured, by family of columns."""
    reasons: dict[str, str] = {}
    if reference.kind == "pictures":
        reasons |= dict.fromkeys(("segmentation", "faithfulness"), NO_MAPS)
    elif settings.segmenter == "none":
        reasons |= dict.fromkeys(("segmentation", "faithfulness"), "--segmenter none")
    if not features:
        reasons["distribution"] = "--features none" if settings.features == "none" else NO_FEATURES
    if not reference.photographs:
        reasons |= dict.fromkeys(("distribution", "paired", "repetition"), NO_PHOTOGRAPHS)
    return reasons


# ------------------------------------------------------------------------------------------------------------ segmenters


def open_segmenter(
    reference: Reference,
    data: Path | None,
    flags: DataFlags,
    settings: EvaluationSettings,
    device: str,
    console: Console,
) -> PhotoSegmenter | None:
    """What reads the pictures; None where nothing does.

    Where the layouts are pictures nothing can be trained, but the features of a segmenter's file are of use.

    Raises:
        ConfigError: There is nothing to train one on.
        LabelError: It knows other classes than the data.
        DataError: The split to learn from is not there.
        ModelFileError: Its file is missing or damaged.
    """
    trained = settings.segmenter == "train"
    if settings.segmenter == "none" or (trained and reference.kind == "pictures"):
        return None
    if trained:
        return _train(reference, data, flags, settings, device, console)
    if settings.from_file:
        from gesso.synthesis.segmenter import load_segmenter

        found: PhotoSegmenter = load_segmenter(settings.segmenter, device)
    else:
        from gesso.synthesis.hub_segmenter import load_hub_segmenter

        if reference.space is None:
            raise ConfigError(f"--segmenter {settings.segmenter}: {NO_MAPS}. Leave it out.")
        mapping = settings.segmenter_classes
        found = load_hub_segmenter(settings.segmenter, reference.space, mapping=mapping, device=device)
    if reference.space is not None:
        refuse_other_classes(found, reference.space, settings.segmenter)
    return found


def _uncovered(segmenter: PhotoSegmenter) -> str:
    if not segmenter.uncovered:
        return ""
    return f"{segmenter.name} cannot find {', '.join(segmenter.uncovered)}: those classes count as missed everywhere."


def leak(
    segmenter: PhotoSegmenter, reference: Reference, data: Path | None, flags: DataFlags, console: Console | None = None
) -> str:
    """What to say of a segmenter that learned from the photographs that are measured; empty where nothing tells that it did.

    Its file has a digest of what it learned from: names and contents, the training's settings, and how photographs came to their
    size. Where that cannot be computed again, the names of data and split are compared.
    """
    if (info := segmenter.info) is None or not info.steps or not reference.photographs:
        return ""
    samples = pairs_of(data, flags, reference.split) if reference.split else reference.layouts.samples
    if info.photographs == len(samples) and _learned_from(info, samples, reference.layouts, console):
        return LEARNED
    if data is not None and info.origin == origin_of(data, reference.split):
        return MAY_HAVE_LEARNED.format(info.origin)
    return ""


def _learned_from(
    info: SegmenterInfo, samples: Sequence[Sample], layouts: SemanticDataset, console: Console | None
) -> bool:
    """Whether a segmenter learned from exactly these photographs: at the size that they have here, their own, or its own."""
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing
    from gesso.segmenter_training import SegmenterSettings, data_digest

    settings = SegmenterSettings(steps=info.steps, width=info.width)
    height, width = info.size
    own = Preprocessing(resize="fixed", height=height, width=width)
    for how in dict.fromkeys((layouts.preprocessing, Preprocessing(), own)):
        dataset = SemanticDataset(samples, layouts.space, how, training=False, instances=False)
        if data_digest(dataset, settings, console) == info.data_digest:
            return True
    return False


def refuse_other_classes(segmenter: PhotoSegmenter, space: LabelSpace, origin: str) -> None:
    """See that a segmenter finds the classes of the layouts, in their order.

    Raises:
        LabelError: It knows others.
    """
    own = segmenter.label_space
    if own.names == space.names:
        return
    strange = [name for name in own.names if name not in space.names]
    lacking = [name for name in space.names if name not in own.names]
    differ = [f"it alone has {', '.join(strange[:5])}"] if strange else []
    differ += [f"it lacks {', '.join(lacking[:5])}"] if lacking else []
    raise LabelError(
        f"--segmenter {origin} finds the {len(own)} classes of {own.name}, the layouts have the {len(space)} of {space.name}: "
        f"{'; '.join(differ) or 'their order differs'}. Give one of these classes, or --segmenter train."
    )


def _train(
    reference: Reference,
    data: Path | None,
    flags: DataFlags,
    settings: EvaluationSettings,
    device: str,
    console: Console,
) -> PhotoSegmenter:
    from gesso.segmenter_training import SegmenterSettings, cached_segmenter
    from gesso.synthesis.segmenter import save_segmenter

    training, held_out, origin = open_training(reference, data, flags, settings)
    how = SegmenterSettings(**({"steps": settings.segmenter_steps} if settings.segmenter_steps else {}))
    root = next(path for path in (data, flags.labels, flags.images) if path is not None)
    measured = f"{root.resolve().name} {reference.split}"
    found = cached_segmenter(training, held_out, how, device, console, origin, measured)
    if settings.save_segmenter:
        assert found.info is not None
        save_segmenter(settings.save_segmenter, found.network, found.info)
    return found


# ---------------------------------------------------------------------------------------------- features and distances


def _extractor(segmenter: PhotoSegmenter | None, settings: EvaluationSettings, device: str) -> FeatureExtractor | None:
    """What makes the vectors of distances between sets; None where there is nothing, or nothing is wanted."""
    from gesso.evaluate.features import NetworkFeatures

    if settings.features == "none":
        return None
    if settings.features == "inception" or settings.inception_weights:
        from gesso.networks.inception import FEATURES, load_inception

        return NetworkFeatures(load_inception(settings.inception_weights), "Inception-v3 (FID)", FEATURES, device)
    features = _own_features(segmenter, "features", settings.features, "inception")
    if segmenter is None or features is None:
        return None
    return NetworkFeatures(features[0], f"features of {segmenter.name}, as", features[1], device)


def _distance(segmenter: PhotoSegmenter | None, settings: EvaluationSettings, device: str) -> Distance | None:
    """What tells two pictures apart; None where there is nothing, or nothing is wanted."""
    from gesso.evaluate.styling import Remembering
    from gesso.networks.lpips import FeatureDistance, load_lpips
    from gesso.networks.segmenter import SegmenterFeatures

    if settings.distance == "none":
        return None
    if settings.distance == "lpips" or settings.alexnet_weights or settings.lpips_weights:
        lpips = load_lpips(settings.alexnet_weights, settings.lpips_weights).to(device)
        lpips.add_module("network", Remembering(lpips.network))
        return lpips
    features = _own_features(segmenter, "distance", settings.distance, "lpips")
    if segmenter is None or features is None:
        return None
    network = features[0]
    assert isinstance(network, SegmenterFeatures), "what has features has the maps that they are averages of"
    return FeatureDistance(Remembering(network.encoder), segmenter.name)


def _own_features(
    segmenter: PhotoSegmenter | None, flag: str, choice: str, instead: str
) -> tuple[nn.Module, int] | None:
    """The segmenter's features; None where it has none and they were not asked for.

    Raises:
        ConfigError: They were asked for.
    """
    features = segmenter.features() if segmenter else None
    if features is None and choice == "segmenter":
        raise ConfigError(
            f"--{flag} segmenter takes the features of a segmenter that gesso trained, and there is none here. Take --segmenter "
            f"train or FILE, or --{flag} {instead}."
        )
    return features


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
