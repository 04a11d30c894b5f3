"""The command line: one module per command, imported only when that command runs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from keyword import iskeyword

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from gesso import __version__
from gesso.errors import GessoError

SMALLER = (
    "Use a smaller --height and --width, a smaller --batch, or more --accumulate; "
    "gesso train --dry-run estimates what is needed."
)
COMMANDS: dict[str, tuple[str, str]] = {  # name: what it does, an example
    "ablate": (
        "Train a paper's variants at equal budget, and report what each part is worth.",
        "gesso ablate pix2pixhd scenes --only boundary,losses --budget 15 --out ablation",
    ),
    "compare": (
        "Put what several evaluations found into one table, if they were measured alike.",
        "gesso compare evaluation-a evaluation-b --out comparison.html",
    ),
    "demo": (
        "Photographs of toy layouts by the model that ships with gesso, a page of them, and the editor with a scene ready.",
        "gesso demo --out demo-run",
    ),
    "doctor": ("Say what training would trip over in a dataset.", "gesso doctor scenes"),
    "edges": (
        "Draw the edges of photographs, to learn photographs from edges.",
        "gesso edges photographs -o edges",
    ),
    "edit": (
        "Paint a layout and see its photograph: the editor, in the browser.",
        "gesso edit run/model.safetensors --data scenes",
    ),
    "evaluate": (
        "Measure models side by side on the layouts of a dataset, beside its real photographs.",
        "gesso evaluate run/model.safetensors --data scenes --out evaluation",
    ),
    "export": (
        "Write a model as an ONNX or OpenVINO file for other programs, and check that it computes the same.",
        "gesso export run/model.safetensors --to openvino --int8 --data scenes",
    ),
    "generate": (
        "Turn a folder of layouts into photographs.",
        "gesso generate run/model.safetensors scenes --split val --out photographs --contact-sheet",
    ),
    "import": (
        "Make a model file of checkpoints that the official code of pix2pix, pix2pixHD or SPADE trained.",
        "gesso import latest_net_G.pth latest_net_E.pth features_clustered_010.npy --labels cityscapes -o model.safetensors",
    ),
    "info": ("Say what a model file says of itself.", "gesso info run/model.safetensors"),
    "sequence": (
        "Turn layouts that follow each other into frames or a video, with one style per object.",
        "gesso sequence frames -o film.mp4 --model run/model.safetensors --report flicker.json",
    ),
    "retouch": (
        "Edit a photograph through its labels: remove, move, relabel or restyle what it shows; all else stays as it is.",
        "gesso retouch photo.jpg --model run/model.safetensors --segmenter segmenter.safetensors --remove car:3 -o without.png",
    ),
    "study": (
        "Ask people which photographs look better: prepare a blind study, show it, count the answers.",
        "gesso study new photographs/spade photographs/pix2pixhd -o study",
    ),
    "styles": (
        "Find the styles of a training set's objects, store them in a model file, and show them.",
        "gesso styles run/model.safetensors --data scenes --sheet styles.png",
    ),
    "toy": (
        "Write procedural street scenes with exact label and instance maps.",
        "gesso toy scenes --count 200 --size 128x256",
    ),
    "train": (
        "Train a model, or go on training: the same command resumes.",
        "gesso train scenes --preset pix2pixhd-small --out run",
    ),
}

SUBCOMMANDS: dict[str, dict[str, tuple[str, str]]] = {  # of a command that is several
    "study": {
        "new": (
            "Prepare a study of folders of photographs.",
            "gesso study new photographs/spade photographs/pix2pixhd --real real --protocol timed -o study",
        ),
        "serve": ("Show a study to participants, until interrupted.", "gesso study serve study --port 8765"),
        "tally": ("Count the answers of a study and write a report.", "gesso study tally study"),
    },
}


def make_app() -> App:
    """The application, with its commands still to be imported."""
    app = App(
        name="gesso",
        version=__version__,
        help="Photographs from semantic layouts. Add --debug to any command to see tracebacks of errors.",
        suppress_keyboard_interrupt=False,  # main() says that the same command goes on
    )
    for name, (text, example) in COMMANDS.items():
        place = f"{name}_" if iskeyword(name) else name
        if name in SUBCOMMANDS:
            group = App(name=name, help=text, help_epilogue=f"Example: {example}")
            for part, (said, shown) in SUBCOMMANDS[name].items():
                group.command(f"gesso.cli.{place}:{part}", name=part, help=said, help_epilogue=f"Example: {shown}")
            app.command(group)
        else:
            app.command(f"gesso.cli.{place}:{place}", name=name, help=text, help_epilogue=f"Example: {example}")
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command.

    Errors that the user can mend are printed without a traceback, with exit code 1; 2 where the command makes no sense.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    if not debug:
        threading.excepthook = _quiet_thread
    try:
        make_app()([token for token in tokens if token != "--debug"], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        if debug:
            raise
        print(f"gesso: {_of_usage(error, tokens)}", file=sys.stderr)
        sys.exit(2)
    except (GessoError, OSError) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # as in `gesso info MODEL | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            print(f"gesso: {error if isinstance(error, GessoError) else _of_system(error)}", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if debug or not _of_memory(error):
            raise
        print(f"gesso: out of memory ({str(error).splitlines()[0]}). {SMALLER}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("gesso: stopped. Run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    finally:
        threading.excepthook = threading.__excepthook__


def _of_memory(error: Exception) -> bool:
    """Whether memory ran out, of the computer or of its accelerator."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _of_usage(error: CycloptsError, tokens: Sequence[str]) -> str:
    """What is wrong with a command, and where its help is."""
    said = str(error)
    if isinstance(error.__cause__, ValidationError):
        said = " ".join(
            f"--{'-'.join(map(str, e['loc'])).replace('_', '-')} {e['input']!r}: {e['msg']}."
            for e in error.__cause__.errors()
        )
    command = f"gesso {tokens[0]}" if tokens and tokens[0] in COMMANDS else "gesso"
    return f"{said} See {command} --help."


def _of_system(error: OSError) -> str:
    """What the system refused, of which file, and what to do."""
    name = error.filename if isinstance(error.filename, str | os.PathLike) else None
    file = f"{os.fspath(name)}: " if name else ""
    reason = error.strerror or str(error)
    return f"{file}{reason}. Check the path, the permissions and the room on the disk, and run the same command again."


def _quiet_thread(failed: threading.ExceptHookArgs) -> None:
    """The thread that writes TensorBoard events hands its errors to the training loop, so it need not print them too."""
    if not issubclass(failed.exc_type, OSError):
        threading.__excepthook__(failed)
