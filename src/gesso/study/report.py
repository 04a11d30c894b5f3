"""A tally as JSON and as one HTML page with everything inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from math import log2

from gesso import __version__
from gesso.study.design import Study
from gesso.study.tally import PairTally, Share, Tally

COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706", "#475569")
NUMBERS = ("preferred", "fooled", "votes", "p", "agreement", "scenes", "left")  # headings of columns set to the right
ADVISED = 50  # participants per method; pix2pix section 3.2
_THIN, _DASHED = 'stroke="#e7e5e4"', 'stroke="#78716c" stroke-dasharray="4 4"'
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; background: #fafaf9; margin: 0 auto; max-width: 960px }
body { padding: 2rem 1rem }
h1 { margin: 0 }
h2 { margin-top: 2.25rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #e7e5e4; vertical-align: middle }
th { font-size: 13px; color: #57534e; font-weight: 600 }
.scroll { overflow-x: auto }
.number { text-align: right }
.note { color: #57534e; font-size: 14px }
figure svg { width: 100% }
figure { margin: 1rem 0; background: #fff; padding: 1rem; border-radius: 6px }
svg { max-width: 100%; height: auto; font: 13px system-ui, sans-serif }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .4em 0 1.2em }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem }
dt { color: #57534e }
dd { margin: 0; overflow-wrap: anywhere }
"""


def to_json(study: Study, counted: Tally) -> str:
    """Protocol and tally, for programs."""
    return json.dumps({"protocol": protocol(study), **asdict(counted)}, indent=1, allow_nan=False) + "\n"


def protocol(study: Study) -> dict[str, object]:
    """Everything that must be the same for two studies to be comparable, and which study this is."""
    listed = study.model_dump(mode="json", exclude={"pictures", "scenes", "id"})
    return {"study": study.id, "tallied_with": __version__, "scenes": len(study.scenes), **listed}


def heading(study: Study) -> str:
    """What the shares are shares of."""
    return "fooled" if study.protocol == "real-or-fake" else "preferred"


def pair_name(study: Study, pair: PairTally) -> str:
    """The pair in words."""
    return pair.first if study.protocol == "real-or-fake" else f"{pair.first} over {pair.second}"


def percent(share: Share) -> str:
    """`61.3 %`, or a dash without votes."""
    return "–" if share.share is None else f"{100 * share.share:.1f} %"


def interval(share: Share) -> str:
    """`52.1 to 69.8 %`."""
    return "–" if share.share is None else f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def probability(p: float) -> str:
    """A p value in words that do not pretend."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def agreement(pair: PairTally) -> str:
    """Krippendorff's alpha and what it rests on, or that there is none."""
    return "–" if pair.agreement is None else f"{pair.agreement:.2f} (of {pair.shared})"


def remarks(study: Study, counted: Tally) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = [
        f"{counted.enrolled} took part, {counted.complete} to the end; {counted.silent} gave no counted answer.",
        f"{counted.excluded} excluded for failed attention checks ({counted.slips} forgiven)."
        if study.checks
        else "There were no attention checks.",
        f"{counted.votes} votes count; {100 * counted.left / counted.votes:.0f} % of them were for the left picture.",
    ]
    if exposed := counted.exposures:
        said.append(
            f"Exposures missed what was asked for by {exposed.median_error_ms:.1f} ms (median of {exposed.measured}), by "
            f"{exposed.largest_error_ms:.1f} ms at most in votes that count. Votes left out: {exposed.missed} for a "
            f"wrong exposure, {exposed.repeated} of trials that were shown again."
        )
    if study.protocol == "real-or-fake" and counted.enrolled - counted.excluded < ADVISED * len(study.fakes):
        said.append(f"pix2pix asked about {ADVISED} participants per method; these are fewer.")
    return said


CAVEAT = (
    "Intervals (Wilson) and the two-sided binomial test against 50 % take votes as independent. Those of one participant, and on "
    "one scene, are not quite: with few participants the truth is less certain. Agreement is Krippendorff's alpha: 1 is full "
    "agreement, 0 chance; in brackets, how many pairs of pictures several people saw. A dash means that nobody saw what another "
    "saw, or that all answered the same."
)


def to_html(study: Study, counted: Tally) -> str:
    """One page that needs nothing else."""
    level = f"{100 * counted.confidence:g} %"
    heads = ["", heading(study), f"{level} interval", "", "votes", "p", "agreement", "scenes"]
    rows = [
        f"<td>{escape(pair_name(study, pair))}</td><td class=number>{percent(pair.all)}</td><td>{interval(pair.all)}</td>"
        f"<td>{_whisker(pair.all)}</td><td class=number>{pair.all.votes}</td><td class=number>{probability(pair.all.p)}</td>"
        f"<td class=number>{agreement(pair)}</td><td class=number>{pair.scenes}</td>"
        for pair in counted.pairs
    ]
    notes = "".join(f"<li>{escape(text)}</li>" for text in remarks(study, counted))
    facts = "".join(
        f"<dt>{key.replace('_', ' ')}</dt><dd>{_fact(value)}</dd>" for key, value in protocol(study).items()
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(study.title)}</title><style>{STYLE}</style>
<h1>{escape(study.title)}</h1><p>{escape(study.question)} <span class="note">({study.protocol})</span></p>
<div class="scroll">{_table(heads, rows)}</div>
<p class="note">{CAVEAT}</p>
{_exposure_section(study, counted)}
<h2>Whose votes count</h2><ul>{notes}</ul>
{_people(study, counted)}
<h2>Protocol</h2><dl>{facts}</dl></html>
"""


def _fact(value: object) -> str:
    return escape(", ".join(map(_plain, value)) if isinstance(value, list) else str(value)) or "–"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th{' class=number' if text in NUMBERS else ''}>{escape(text)}</th>" for text in heads)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _people(study: Study, counted: Tally) -> str:
    one = len(study.pairs) == 1 or study.protocol == "real-or-fake"  # of several pairs a sum would mean nothing
    heads = ["participant", "votes", *([heading(study)] if one else []), "left", "checks failed", ""]
    rows = []
    for person in counted.participants:
        numbers = (person.votes, *([person.fooled_or_first] if one else []), person.left)
        listed = "".join(f"<td class=number>{number}</td>" for number in numbers)
        state = "" if person.counted else "excluded"
        rows.append(f"<td>{person.number + 1}</td>{listed}<td>{person.failed} of {person.checks}</td><td>{state}</td>")
    return f"<details><summary>Each participant</summary><div class=scroll>{_table(heads, rows)}</div></details>"


# -------------------------------------------------------------------------------------------------------------- pictures


def _whisker(share: Share) -> str:
    """An interval from 0 to 100 % with a mark at 50 %."""
    if share.share is None:
        return ""
    low, high, at = (200 * x for x in (share.low, share.high, share.share))
    return (
        '<svg width="200" height="16" viewBox="0 0 200 16" role="img"><path d="M0 8H200" stroke="#e7e5e4"/>'
        '<path d="M100 1V15" stroke="#a8a29e" stroke-dasharray="2 2"/>'
        f'<path d="M{low:.1f} 8H{high:.1f}" stroke="#2563eb" stroke-width="3"/>'
        f'<circle cx="{at:.1f}" cy="8" r="4" fill="#2563eb"/></svg>'
    )


def _exposure_section(study: Study, counted: Tally) -> str:
    if not study.exposures:
        return ""
    legend = "".join(
        f'<span class="swatch" style="background:{colour}"></span>{escape(pair_name(study, pair))} '
        for pair, colour in zip(counted.pairs, _colours(counted), strict=True)
    )
    heads = ["", *(f"{_seconds(s)} s" for s in sorted(study.exposures))]
    rows = [
        f"<td>{escape(pair_name(study, pair))}</td>"
        + "".join(
            f"<td>{percent(share)} <span class=note>of {share.votes}</span></td>" for _, share in pair.by_exposure
        )
        for pair in counted.pairs
    ]
    return (
        f"<h2>Over exposure time</h2><figure>{exposure_plot(study, counted)}<figcaption>{legend}</figcaption></figure>"
        f"<div class=scroll>{_table(heads, rows)}</div>"
    )


def _colours(counted: Tally) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(counted.pairs))]


def _seconds(seconds: float) -> str:
    return f"1/{round(1 / seconds)}" if seconds < 1 and abs(1 / seconds - round(1 / seconds)) < 1e-6 else f"{seconds:g}"


def exposure_plot(study: Study, counted: Tally) -> str:
    """Preference over exposure time with intervals, as SVG; time is logarithmic, as in pix2pixHD's figure."""
    left, top, width, height = 52, 14, 640, 260
    times = sorted(study.exposures)
    span = log2(times[-1] / times[0]) or 1.0

    def x(seconds: float, shift: float = 0) -> float:
        return left + 24 + (width - 48) * log2(seconds / times[0]) / span + shift

    def y(share: float) -> float:
        return top + height * (1 - share)

    drawn = "".join(
        f'<path d="M{left} {y(s / 4)}H{left + width}" {_DASHED if s == 2 else _THIN}/>'
        f'<text x="{left - 8}" y="{y(s / 4) + 4}" text-anchor="end" fill="#57534e">{25 * s} %</text>'
        for s in range(5)
    )
    drawn += "".join(
        f'<text x="{x(t):.1f}" y="{top + height + 20}" text-anchor="middle" fill="#57534e">{_seconds(t)}</text>'
        for t in times
    )
    middle = f'x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle"'
    drawn += f'<text {middle} fill="#57534e">exposure in seconds</text>'
    for index, (pair, colour) in enumerate(zip(counted.pairs, _colours(counted), strict=True)):
        shift = 7 * (index - (len(counted.pairs) - 1) / 2)  # so that intervals do not hide each other
        known = [(x(t, shift), share) for t, share in pair.by_exposure if share.share is not None]
        line = " ".join(f"{at:.1f},{y(share.share or 0):.1f}" for at, share in known)
        drawn += f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        drawn += "".join(
            f'<path d="M{at:.1f} {y(share.low):.1f}V{y(share.high):.1f}" stroke="{colour}" stroke-opacity=".55"/>'
            f'<circle cx="{at:.1f}" cy="{y(share.share or 0):.1f}" r="3.5" fill="{colour}"/>'
            for at, share in known
        )
    size = f"{left + width + 8} {top + height + 48}"
    return f'<svg width="{left + width + 8}" height="{top + height + 48}" viewBox="0 0 {size}" role="img">{drawn}</svg>'
