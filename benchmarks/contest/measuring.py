"""Measuring one case in a process of its own: times in turns, differences, arithmetic and peak memory.

The process is given one JSON object as its argument and writes a JSON object per line: {"progress": ...} while it works, then
{"found": ...}, or {"missing": ...} where what is to be measured does not exist.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from contest import contenders, layouts
from contest.cases import Case
from contest.contenders import Compute
from contest.layouts import Layout
from gesso.errors import GessoError
from gesso.networks.products import product

PRODUCT = {"cpu": 2048, "cuda": 8192}  # sides of the matrices whose product tells the peak
PRODUCTS = 3  # per round and way; the fastest counts


def main(argument: str) -> None:
    """Do what was asked for and write down what was found."""
    order = json.loads(argument)
    order["case"] = Case(**order["case"] | {"size": tuple(order["case"]["size"])})
    if order["layouts"] or order["sample"]:
        order["layouts"] = Path(order["layouts"]) if order["layouts"] else layouts.default_folder()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 means float32
    torch.set_num_threads(order["threads"])
    try:
        contenders.refuse_missing(order["case"], order["device"])
        say(found=TASKS[order["task"]](order))
    except contenders.NotThereError as reason:
        say(missing=str(reason))
    except (GessoError, subprocess.CalledProcessError) as error:
        say(failed=str(error))


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


# -------------------------------------------------------------------------------------------------------------- time


def times(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds of every contender in every round, the peak of matrix products beside them, arithmetic and differences."""
    case, device = order["case"], order["device"]
    every, source = _layouts(order)
    say(progress="making networks")
    wanted = ["reference", *order["wanted"]] if order["wanted"] else contenders.names(case, device)
    who = contenders.contenders(case, wanted, device, every[0], order)
    clock = Clock(device)
    found: dict[str, Any] = {
        name: {"seconds": [], "arithmetic": 0.0, "difference": 0.0, "plain": getattr(compute, "plain", False)}
        for name, compute in who.items()
    }
    warm_up(case, who, layouts.of_round(every, 0, case.layouts)[0], found)
    peaks: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for number in range(1, order["repeats"] + 1):
        say(progress=f"round {number} of {order['repeats']}")
        for kind in peaks if device != "cpu" else ("float32",):
            peaks[kind].append(gemm(clock, device, getattr(torch, kind), order["quick"]))
        spent = dict.fromkeys(who, 0.0)
        for place, layout in enumerate(layouts.of_round(every, number, case.layouts)):
            for name, compute in who.items():
                prepare(compute, layout)
                spent[name] += clock.seconds(compute, layout, case.layouts * number + place)
        for name, seconds in spent.items():
            found[name]["seconds"].append(seconds / case.layouts)
    result = {"contenders": found, "gemm": peaks, "layouts": source}
    if case.kind == "step" and order["exact_steps"]:
        result["exact"] = exact(case, device, every, order["exact_steps"])
    if case.kind == "edit":
        from contest.editing import of_trained

        say(progress="a trained model")
        result["trained"] = of_trained(scenes=1) if order["quick"] else of_trained()
    return result


def warm_up(case: Case, who: dict[str, Compute], layout: Layout, found: dict[str, Any]) -> None:
    """One call of each, of which arithmetic is counted and results are compared; who cannot compute drops out."""
    wanted: Any = None
    for name, compute in list(who.items()):
        say(progress=f"{name} for the first time")
        # What is compiled, or is not PyTorch, does not tell what it computes.
        silent = "compile" in name or "int8" in name
        counter = contextlib.nullcontext() if silent else FlopCounterMode(display=False)
        prepare(compute, layout)
        try:
            with counter:
                result = compute(layout, 0)
        except Exception as error:
            if name in ("reference", "gesso"):
                raise
            found[name] = {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
            del who[name]
            continue
        wanted = result if wanted is None else wanted
        found[name]["difference"] = difference(wanted, result)
        if case.kind == "edit":
            gaps = (wanted - result).abs() * 127.5
            found[name]["levels"] = [float(gaps.mean()), float(gaps.max())]
        alike = found.get(name.replace(" compile", ""), {}).get("arithmetic", 0.0)
        found[name]["arithmetic"] = alike if silent else counter.get_total_flops() / 2


def prepare(compute: Compute, layout: Layout) -> None:
    """What happens before the clock runs: an edit is made to a picture that is there already."""
    if hasattr(compute, "prepare"):
        compute.prepare(layout)


def difference(wanted: Any, found: Any) -> float:
    """Of pictures the largest difference over the largest value; of losses the largest relative difference."""
    if isinstance(wanted, Tensor):
        return float((wanted - found).abs().max() / wanted.abs().max())
    return max(abs(float(found[name]) / float(value) - 1) for name, value in wanted.items())


def gemm(clock: Clock, device: str, dtype: torch.dtype, quick: bool) -> float:
    """Floating-point operations in a second of a large matrix product, just now, by whoever is fastest."""
    side = 256 if quick else PRODUCT[device.partition(":")[0]]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    ways: list[Callable[..., Any]] = [torch.mm, product] if device == "cpu" else [torch.mm]
    with torch.inference_mode():
        seconds = min(clock.seconds(way, left, right) for way in ways for _ in range(PRODUCTS))
    return 2 * side**3 / seconds


class Clock:
    """Seconds of a call: by the wall clock, on CUDA between two events."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")

    def seconds(self, call: Callable[..., Any], *arguments: Any) -> float:
        if not self.cuda:
            began = time.perf_counter()
            call(*arguments)
            return time.perf_counter() - began
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begun.record()
        call(*arguments)
        ended.record()
        torch.cuda.synchronize()
        return float(begun.elapsed_time(ended)) / 1000


def exact(case: Case, device: str, every: list[Layout], count: int) -> float:
    """The largest relative difference of any loss over so many steps in float64."""
    from contest.stepping import both

    who, worst = both(case, ["reference", "gesso"], device, True, torch.float64), 0.0
    for number in range(count):
        say(progress=f"step {number + 1} of {count} in float64")
        wanted, found = (compute(every[number % len(every)], number) for compute in who.values())
        worst = max(worst, difference(wanted, found))
    return worst


def _layouts(order: dict[str, Any]) -> tuple[list[Layout], str]:
    """On the device, and where they are from."""
    case, folder = order["case"], order["layouts"]
    say(progress="reading layouts" if folder else "drawing toy scenes")
    count = max(case.layouts, order["repeats"] + 1)
    every = [one.to(order["device"]) for one in layouts.load(folder, case.size, count)]
    return every, folder.name if folder else "toy scenes"


# ------------------------------------------------------------------------------------------------------------ memory


def memory(order: dict[str, Any]) -> int:
    """Bytes that this process, or on CUDA its tensors, have occupied at most, with one contender alone, after two calls."""
    case, device = order["case"], order["device"]
    every, _ = _layouts(order)
    coming = [every[0], every[-1].rolled(1)]
    del every  # what others hold is not the contender's
    say(progress=f"memory of {order['wanted'][0]}")
    (compute,) = contenders.contenders(case, order["wanted"], device, None, order).values()
    for number in range(len(coming)):
        layout = coming.pop(0)
        prepare(compute, layout)
        compute(layout, number)
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


TASKS = {"times": times, "memory": memory}
