"""One row of an evaluation after the other, each measured picture by picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import track
from gesso.cli.evaluation_data import Reference, Subject
from gesso.cli.evaluation_pictures import FolderPictures, ModelPictures, Pictures, RealPictures, fitted, read_kept
from gesso.cli.evaluation_settings import ORACLE, PAINTED_ORACLE, Entry, EvaluationSettings
from gesso.cli.evaluation_tools import NO_DISTANCE, NO_PHOTOGRAPHS, Instruments

if TYPE_CHECKING:
    from gesso.evaluate.measuring import Measuring, Real, Styled, Vectors
    from gesso.evaluate.results import Row
    from gesso.evaluate.styling import StyleMeasuring
    from gesso.pictures import Picture

PICTURES, LAYOUTS, REAL, WRONG = "pictures", "_layouts", "_real", "_wrong"
ONE_EACH = "there is one picture of each layout"
NO_STYLE = "the model leaves nothing open: all results for one layout are the same"
NO_ENCODER = "the model takes no style from photographs"


class Bench:
    """Measures one row after the other, by the same tools."""

    def __init__(
        self,
        reference: Reference,
        instruments: Instruments,
        settings: EvaluationSettings,
        device: str,
        out: Path,
        console: Console,
    ) -> None:
        self._reference, self._instruments, self._settings = reference, instruments, settings
        self._tools, self._device, self._console = instruments.tools, device, console
        self._pictures = out / PICTURES if settings.keep_pictures else None
        self._real: Real | None = None

    def oracle(self) -> Row:
        """The row of the real photographs, which the others are measured against."""
        from gesso.evaluate.measuring import Measuring, Real, Styled
        from gesso.evaluate.results import Row

        name = PAINTED_ORACLE if self._reference.kind == "painted" else ORACLE
        facts = {"remarks": list(remarks)} if (remarks := self._instruments.remarks) else {}
        if not self._reference.photographs:
            self._real = Real()
            self._show(name)
            return Row(name=name, kind="oracle", facts=facts, missing=_everything(NO_PHOTOGRAPHS))
        measuring = Measuring(self._tools, self.features())
        self._measure(name, RealPictures(self._reference), measuring, self._keep_shown)
        self._real = measuring.real
        with self._busy(name):
            styled = Styled(missing=_of_styles(ONE_EACH))
            return measuring.row(name, "oracle", self._real, styled=styled, facts=facts)

    def folder(self, subject: Subject, source: FolderPictures) -> Row:
        """The row of a folder of pictures."""
        from gesso.evaluate.measuring import Measuring, Styled

        measuring, entry = Measuring(self._tools), subject.entry
        self._measure(entry.name, source, measuring, self._keeper(entry))
        return self._row(entry, source, measuring, Styled(missing=_of_styles(ONE_EACH)))

    def model(self, subject: Subject) -> Row:
        """The row of a model."""
        from gesso.evaluate.measuring import Measuring

        measuring, entry = Measuring(self._tools), subject.entry
        source = ModelPictures(subject, self._reference, self._settings, self._device, self._pictures, self._console)
        self._measure(entry.name, source, measuring)
        return self._row(entry, source, measuring, self._styled(entry, source, measuring))

    # -------------------------------------------------------------------------------------------------- picture by picture

    def _measure(
        self,
        name: str,
        source: Pictures,
        measuring: Measuring,
        keep: Callable[[dict[str, Any], Picture], None] | None = None,
    ) -> None:
        """All pictures of a row, some at a time; only these are in memory."""
        waiting: list[tuple[dict[str, Any], Picture]] = []
        for number in track(range(len(self._reference)), f"{name}: pictures", len(self._reference), self._console):
            with measuring.timed("reading"):
                item = self._reference.layouts[number]
            with measuring.timed("synthesis" if source.kind == "model" else "reading"):
                picture = fitted(source.picture(number, item), item["size"])
            if keep is not None and self._pictures is not None:
                with measuring.timed("writing"):
                    keep(item, picture)
            waiting.append((item, picture))
            if len(waiting) == self._settings.batch:
                self._update(measuring, waiting)
        self._update(measuring, waiting)

    def _update(self, measuring: Measuring, waiting: list[tuple[dict[str, Any], Picture]]) -> None:
        if waiting:
            measuring.update([self._reference.example(item) for item, _ in waiting], [p for _, p in waiting])
        waiting.clear()

    def features(self) -> Vectors | None:
        """The vectors of the photographs, from the cache if they are there; None where nothing makes any."""
        from gesso.evaluate.features import extract, features_key, kept_features
        from gesso.networks.published import cache_folder

        if (extractor := self._tools.extractor) is None:
            return None
        layouts = self._reference.layouts
        said = {
            "preprocessing": layouts.preprocessing.model_dump(mode="json"),
            "halves": [s.half for s in layouts.samples],
        }
        key = features_key([s.image for s in layouts.samples if s.image], said, extractor.name, self._console)
        numbers = range(len(layouts))

        def pictures() -> Iterable[Picture]:
            for number in track(numbers, "features of photographs", len(numbers), self._console):
                real = self._reference.real(layouts[number])
                assert real is not None
                yield real[None]

        return kept_features(cache_folder() / "features", key, lambda: extract(pictures(), extractor))[0]

    # -------------------------------------------------------------------------------------------------------------- rows

    def _row(self, entry: Entry, source: Pictures, measuring: Measuring, styled: Styled) -> Row:
        assert self._real is not None
        place = f"{PICTURES}/{entry.folder}" if self._pictures else ""
        with self._busy(entry.name):
            row = measuring.row(entry.name, source.kind, self._real, styled=styled, facts=source.facts, pictures=place)
            self._mark_wrong(row, entry)
        return row

    def _styled(self, entry: Entry, source: ModelPictures, measuring: Measuring) -> Styled:
        """How far results for one layout lie apart, and whether a photograph's own style brings it back."""
        from gesso.evaluate.measuring import Styled
        from gesso.evaluate.results import Number
        from gesso.evaluate.styling import OF_ENCODERS, StyleMeasuring

        if self._reference.kind == "painted":
            return Styled()
        missing = {} if source.encodes else dict.fromkeys(OF_ENCODERS, NO_ENCODER)
        if not self._settings.diversity_layouts:
            return Styled(missing=_of_styles("--diversity-layouts 0"))
        if not source.varies:
            still = {} if self._instruments.distance is None else {"diversity": Number(value=0.0, note=NO_STYLE)}
            return Styled(still, {"diversity": NO_DISTANCE, **missing})
        names = self._reference.space.names if self._reference.space else ()
        styles = StyleMeasuring(self._instruments.distance, names, self._device)
        numbers = self._spread(self._settings.diversity_layouts)
        with measuring.timed("styles"):
            for number in track(numbers, f"{entry.name}: styles", len(numbers), self._console):
                self._measure_styles(source, styles, number)
        found = styles.styled(self._tools.sampling, remark=source.remark)
        nothing = {
            name: reason for name, reason in {**_of_styles(NO_DISTANCE), **missing}.items() if name not in found.numbers
        }
        return Styled(found.numbers, nothing, found.classes)

    def _measure_styles(self, source: ModelPictures, styles: StyleMeasuring, number: int) -> None:
        import numpy as np

        item = self._reference.layouts[number]
        example, size = self._reference.example(item), item["size"]
        made = source.results(number, item, self._settings.diversity_results)
        results = np.stack([fitted(picture, size) for picture in made])
        styles.add_results(results, example.label)
        if source.encodes and example.photograph is not None:
            styles.add_reconstruction(example.photograph, fitted(source.own(number, item), size), results)

    def _spread(self, count: int) -> list[int]:
        """Some layouts, evenly over the data."""
        import numpy as np

        last = len(self._reference) - 1
        return sorted(set(np.linspace(0, last, min(count, last + 1)).round().astype(int).tolist()))

    # ---------------------------------------------------------------------------------------------------------- pictures

    def _show(self, name: str) -> None:
        """Without an oracle, the layouts alone are kept for the report."""
        if self._pictures is not None:
            for number in track(range(len(self._reference)), f"{name}: layouts", len(self._reference), self._console):
                self._keep_shown(self._reference.layouts[number], None)

    def _keep_shown(self, item: dict[str, Any], real: Picture | None) -> None:
        """The layout in its colours and the photograph, for the report and for people."""
        assert self._pictures is not None
        _keep(self._pictures / LAYOUTS / f"{item['name']}.png", self._reference.shown(item))
        if real is not None:
            _keep(self._pictures / REAL / f"{item['name']}.png", real)

    def _keeper(self, entry: Entry) -> Callable[[dict[str, Any], Picture], None]:
        def keep(item: dict[str, Any], picture: Picture) -> None:
            assert self._pictures is not None
            _keep(self._pictures / entry.folder / f"{item['name']}.png", picture)

        return keep

    def _mark_wrong(self, row: Row, entry: Entry) -> None:
        """The pictures of the galleries again, with what disagrees with the layout."""
        from gesso.data.readers import read_photograph
        from gesso.evaluate.faithfulness import faithfulness_picture
        from gesso.evaluate.galleries import galleries
        from gesso.synthesis.synthesizer import save_png

        space, segment = self._reference.space, self._tools.segment
        if self._pictures is None or segment is None or space is None:
            return
        numbers = {sample.name: number for number, sample in enumerate(self._reference.layouts.samples)}
        for name in dict.fromkeys(name for names in galleries(row).values() for name in names):
            item = self._reference.layouts[numbers[name]]
            label, size = item["label"].numpy(), item["size"]
            picture = fitted(read_photograph(self._pictures / entry.folder / f"{name}.png"), size)
            wrong = (segment(picture[None])[0] != label) & (label < len(space))
            save_png(self._pictures / WRONG / entry.folder / f"{name}.png", faithfulness_picture(picture, wrong), {})

    def _busy(self, name: str) -> AbstractContextManager[Any]:
        return busy(f"{name}: intervals", self._console)


def busy(what: str, console: Console) -> AbstractContextManager[Any]:
    """Show that something is going on that nobody can count."""
    return console.status(what) if console.is_terminal else nullcontext()


def _keep(path: Path, picture: Picture) -> None:
    """Write a picture, unless the same one is there: as a larger PNG than those of models, in a third of the time."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from gesso.checkpoints import write_safely
    from gesso.synthesis.synthesizer import PNG_KEY

    record = {"content": hashlib.sha256(picture.tobytes()).hexdigest()[:16]}
    if read_kept(path, record) is not None:
        return
    chunks = PngInfo()
    chunks.add_itxt(PNG_KEY, json.dumps(record))
    image = Image.fromarray(picture)
    write_safely(path, lambda temporary: image.save(temporary, "PNG", pnginfo=chunks, compress_level=1))


def _everything(reason: str) -> dict[str, str]:
    from gesso.evaluate.results import COLUMNS

    return dict.fromkeys(COLUMNS, reason)


def _of_styles(reason: str) -> dict[str, str]:
    return dict.fromkeys(("diversity", "style_l1", "style_distance", "random_style_distance"), reason)
