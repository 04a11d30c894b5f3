"""Tests of the house itself: who imports whom, what is public, what documents claim, what files may hold.

The checkers are plain functions over text, so that each is also tried on a made-up offence further down.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
COMMANDS_PAGE = ROOT / "docs" / "commands.md"  # generated: names every command, whether somebody wrote about it or not
DOCUMENTS = (ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {COMMANDS_PAGE}))


def read(path: str | Path) -> str:
    """The text of a file, named from the root of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------- who imports whom

# A room is a module or package directly under gesso; it may import itself and the rooms named here.
# "gesso" stands for gesso/__init__.py.
BASE = {"errors", "labels"}
MODEL = BASE | {"networks", "model_info", "checkpoints"}
LEAF = MODEL | {"synthesis", "pictures"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "labels": {"errors"},
    "agreement": BASE,
    "data": BASE | {"agreement"},
    "networks": BASE,
    "losses": BASE,
    "recipes": BASE | {"data", "networks", "losses"},
    "model_info": BASE,
    "style_tensors": BASE | {"model_info"},
    "checkpoints": BASE | {"disk", "model_info", "networks", "style_tensors"},
    "pictures": BASE,
    "devices": {"errors"},
    "disk": {"errors"},
    "launch": {"errors"},
    "train_log": BASE | {"pictures", "recipes"},
    "compiling": set(),
    "batches": BASE | {"data", "networks", "recipes"},
    "averaging": BASE | {"networks"},
    "session": MODEL | {"averaging", "batches", "compiling", "data", "recipes", "train_log"},
    "run_start": MODEL | {"data", "recipes", "session"},
    "validation": MODEL | {"batches", "compiling", "data", "pictures", "session", "train_log"},
    "train": MODEL
    | {
        "averaging",
        "batches",
        "compiling",
        "data",
        "losses",
        "recipes",
        "pictures",
        "run_start",
        "session",
        "train_log",
        "devices",
        "launch",
        "validation",
    },
    "estimates": MODEL | {"data", "recipes", "devices", "session"},
    "importers": MODEL,
    "synthesis": MODEL | {"agreement", "pictures", "devices"},
    "segmenter_training": LEAF | {"data", "devices", "evaluate"},
    "evaluate": LEAF,
    "study": LEAF | {"serving"},
    "serving": {"errors"},
    "editor": LEAF | {"data", "serving"},
    "demo_model": {"errors"},
    "export": LEAF,
}
MAY_IMPORT["cli"] = {*MAY_IMPORT, "gesso"}
MAY_IMPORT["gesso"] = LEAF | {"losses", "importers"}
MAY_IMPORT["__main__"] = {"cli"}

PAPERS = {"pix2pix", "pix2pixhd", "spade"}
HEAVY = ("torch", "scipy", "skimage", "sklearn", "lightning_fabric", "tensorboard")


@dataclass(frozen=True)
class Import:
    """One imported module, as `gesso.data.toy` or `torch.nn`, and where the import stands."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer} line {self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources() -> dict[str, str]:
    """Module name -> source, of the whole package."""
    return {module_name(path): read(path) for path in sorted(SRC.rglob("*.py"))}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports(modules: dict[str, str]) -> Iterator[Import]:
    """Every import, in functions too; `from gesso import losses` counts as gesso.losses. The version is everyone's."""
    for importer, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                yield from (Import(importer, name.name, node.lineno) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{importer} line {node.lineno}: write the whole module name"
                base = node.module or ""
                for name in (alias.name for alias in node.names if (base, alias.name) != ("gesso", "__version__")):
                    is_module = f"{base}.{name}" in modules or (base == "gesso" and name in MAY_IMPORT)
                    yield Import(importer, f"{base}.{name}" if is_module else base, node.lineno)


def wrong_direction(modules: dict[str, str]) -> list[str]:
    """Imports against the direction drawn in MAY_IMPORT, between two papers of one room, or of a paper by `train`."""
    found = []
    for item in imports(modules):
        if item.imported.split(".")[0] != "gesso":
            continue
        source, target = room(item.importer), room(item.imported)
        papers = PAPERS & {item.imported.rsplit(".", 1)[-1]}
        if source != target and target not in MAY_IMPORT[source]:
            found.append(f"{item}; {source} may import {sorted(MAY_IMPORT[source])}")
        elif papers and (
            source in {"run_start", "session", "train"}
            or (source == target and PAPERS & {item.importer.rsplit(".", 1)[-1]})
        ):
            found.append(f"{item}; a paper's module stands alone, and train knows no paper")
    return found


def third_party(modules: dict[str, str]) -> Iterator[Import]:
    own = sys.stdlib_module_names | {"gesso"}
    return (item for item in imports(modules) if item.imported.split(".")[0] not in own)


def not_torch_only(modules: dict[str, str]) -> list[str]:
    """Third-party imports of networks and losses other than torch."""
    found = (item for item in third_party(modules) if room(item.importer) in {"networks", "losses"})
    return [str(item) for item in found if item.imported.split(".")[0] != "torch"]


def test_every_module_has_a_room() -> None:
    assert {room(module) for module in sources()} <= MAY_IMPORT.keys()


def test_dependency_direction() -> None:
    assert wrong_direction(sources()) == []


def test_networks_and_losses_import_torch_only() -> None:
    assert not_torch_only(sources()) == []


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras if name != "dev" for line in extras[name])]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for line in lines}
    assert not declared & {"torchvision", "timm", "lpips"}, "these bring torchvision, which breaks beside a CPU torch"
    owners = importlib.metadata.packages_distributions()
    undeclared = [
        str(item)
        for item in third_party(sources())
        if not declared & {name.lower() for name in owners.get(item.imported.split(".")[0], ())}
    ]
    assert undeclared == []


def test_importing_gesso_and_its_commands_is_light() -> None:
    script = f"""
        import importlib, pkgutil, sys
        import gesso, gesso.cli
        gesso.cli.make_app()
        for module in pkgutil.walk_packages(gesso.cli.__path__, "gesso.cli."):
            if module.name.rpartition(".")[2] not in ("train", "ablate"):  # their flags are the recipes' settings: torch
                importlib.import_module(module.name)
        print(*(name for name in {HEAVY} if name in sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "heavy imports belong inside the commands and behind gesso's lazy names"


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("gesso.errors", "from gesso import labels"),
        ("gesso.networks.spade", "from gesso.data.toy import scene"),
        ("gesso.networks.spade", "from gesso.networks import pix2pixhd"),
        ("gesso.recipes.spade", "from gesso.recipes.pix2pixhd import Config"),
        ("gesso.data.dataset", "def late():\n    from gesso.train import fit"),
        ("gesso.train", "import gesso.recipes.pix2pixhd"),
        ("gesso.train", "from gesso.synthesis.synthesizer import Synthesizer"),
        ("gesso.checkpoints", "from gesso.recipes import Recipe"),
        ("gesso.study.page", "import gesso.evaluate.report"),
        ("gesso.importers.spade", "from gesso import load"),
    ],
)
def test_a_wrong_import_is_found(importer: str, line: str) -> None:
    modules = {**dict.fromkeys(("gesso.networks.pix2pixhd", "gesso.recipes.pix2pixhd"), ""), importer: line}
    assert len(wrong_direction(modules)) == 1


def test_right_imports_are_not_found() -> None:
    modules = {
        "gesso.networks.spade": "import torch\nfrom gesso.errors import WeightsError",
        "gesso.train": "from gesso import __version__, checkpoints, recipes",
        "gesso.cli.train": "from gesso import load\nfrom gesso.recipes import pix2pixhd",
        "gesso.recipes.pix2pixhd": "from gesso.networks import pix2pixhd",
    }
    assert wrong_direction(modules) == []


def test_a_foreign_library_in_networks_is_found() -> None:
    line = "import math, torch\nfrom torch import nn\nimport numpy as np"
    assert len(not_torch_only({"gesso.networks.spade": line, "gesso.data.toy": line})) == 1


# ---------------------------------------------------------------------------------------------- public and documented
# That every public definition has a docstring is ruff's part (rules D).


def commands() -> tuple[str, ...]:
    """The names of gesso's commands, as gesso.cli lists them."""
    listed = importlib.import_module("gesso.cli").COMMANDS
    assert listed, "gesso.cli.COMMANDS names every command"
    return tuple(listed)


@functools.cache
def help_text(*command: str) -> str:
    """What `gesso COMMAND --help` prints, wide enough that nothing is cut."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gesso.cli import main; sys.exit(main())", *command, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert done.returncode == 0, f"gesso {' '.join(command)} --help failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def recipe_modules() -> list[ModuleType]:
    recipes = importlib.import_module("gesso.recipes")
    found = [importlib.import_module(m.name) for m in pkgutil.iter_modules(recipes.__path__, "gesso.recipes.")]
    return [module for module in found if hasattr(module, "PRESETS")]


def names_word(text: str, word: str) -> bool:
    """Whether the text holds the word as a whole: `pix2pixhd-small` does not name `pix2pixhd`."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def test_public_names_are_listed_and_documented() -> None:
    gesso = importlib.import_module("gesso")
    listed = list(gesso.__all__)
    assert listed and listed == sorted(set(listed))
    assert set(listed) <= set(dir(gesso)), "dir(gesso) shows every public name, lazy ones too"
    page = read("docs/api.md")
    for name in listed:
        assert inspect.getdoc(getattr(gesso, name)), f"gesso.{name} has no docstring"
        assert names_word(page, f"gesso.{name}"), f"docs/api.md does not name gesso.{name}"


def test_every_convention_and_label_space_is_documented() -> None:
    names = importlib.import_module("gesso.data.layouts").CONVENTIONS.keys()
    spaces = importlib.import_module("gesso.data.spaces").PUBLISHED
    page = read("docs/datasets.md")
    assert spaces and [name for name in (*names, *spaces) if f"`{name}`" not in page] == []


def test_every_command_is_documented() -> None:
    documents = "\n".join(read(path) for path in DOCUMENTS)
    assert [c for c in commands() if not names_word(documents, f"gesso {c}")] == []
    assert [c for c in commands() if not names_word(help_text(), c)] == [], "gesso --help lists every command"


def parts(command: str) -> tuple[str, ...]:
    """The commands of a command that is several, such as `gesso study new`."""
    return tuple(importlib.import_module("gesso.cli").SUBCOMMANDS.get(command, ()))


@pytest.mark.long
def test_every_commands_help_shows_an_example() -> None:
    for words in [(c,) for c in commands()] + [(c, part) for c in commands() for part in parts(c)]:
        text = help_text(*words)
        assert "Example" in text and f"gesso {' '.join(words)}" in text.split("Example", 1)[1], text


def test_every_part_of_a_command_is_documented() -> None:
    documents = "\n".join(read(path) for path in DOCUMENTS)
    missing = [f"{c} {part}" for c in commands() for part in parts(c) if not names_word(documents, f"gesso {c} {part}")]
    assert missing == []


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    script = ROOT / "examples" / "commands_page.py"
    spec = importlib.util.spec_from_file_location("commands_page", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert read(COMMANDS_PAGE) == module.page(), f"write the page anew: python {script.relative_to(ROOT)}"


def test_every_preset_is_documented() -> None:
    modules = recipe_modules()
    assert modules and all(module.PRESETS for module in modules)
    page = read("docs/training.md")
    assert [name for module in modules for name in module.PRESETS if not names_word(page, name)] == []


# ------------------------------------------------------------------------------------------------ documents that run


@dataclass(frozen=True)
class Block:
    """A fenced block of a document: its language, its text and the line on which the text begins."""

    language: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    pattern = re.compile(r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)
    return [
        Block(m["language"], textwrap.dedent(m["text"]), document.count("\n", 0, m.start("text")) + 1)
        for m in pattern.finditer(document)
    ]


def shell_lines(document: str) -> list[list[str]]:
    """The words of each command line in shell blocks and of each `gesso ...` in the running text.

    A leading `$` or `.venv/bin/` is dropped, as are comments.
    """
    shells = (b.text for b in blocks(document) if b.language in {"bash", "sh", "shell", "console"})
    lines = [line for text in shells for line in text.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"(?<!`)`(gesso [^`]+)`(?!`)", document)
    return [shlex.split(re.sub(r"^\s*(\$ )?(\.venv/bin/)?", "", line), comments=True) for line in lines]


def shown_lines() -> list[list[str]]:
    """The command lines of every document."""
    return [words for path in (*DOCUMENTS, ROOT / "CONTRIBUTING.md") for words in shell_lines(read(path))]


def gesso_words(words: list[str]) -> list[str]:
    """What a command line hands to gesso, itself or as `make demo DEMO_ARGS="..."`; nothing for other lines."""
    if words[:2] == ["make", "demo"]:
        return ["demo", *shlex.split(" ".join(word.partition("DEMO_ARGS=")[2] for word in words[2:]))]
    return words[1:] if words[:1] == ["gesso"] else []


def unknown_flags(words: list[str], text: str) -> list[str]:
    flags = (word.split("=", 1)[0] for word in words if re.match(r"--?[A-Za-z]", word))
    return [flag for flag in flags if flag != "--help" and not names_word(text, flag)]


@pytest.fixture
def snippet_folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the snippets: a small model.safetensors and a layout.png that fits it."""
    gesso = importlib.import_module("gesso")
    (tmp_path / "model.safetensors").write_bytes(tiny_model.read_bytes())
    space = gesso.load(tiny_model, device="cpu").label_space
    bands = np.repeat(np.arange(64)[:, None] * len(space) // 64, 128, axis=1)
    Image.fromarray(space.to_values(bands).astype(np.uint8)).save(tmp_path / "layout.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if any(b.language == "python" for b in blocks(read(path)))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
@pytest.mark.usefixtures("snippet_folder")
def test_python_snippets_run(path: Path) -> None:
    names: dict[str, object] = {"__name__": "snippet"}
    for block in (b for b in blocks(read(path)) if b.language == "python"):
        code = "\n" * (block.line - 1) + block.text  # so that a traceback shows the document's own line
        exec(compile(code, str(path), "exec"), names)


def test_readme_shows_python_and_both_commands() -> None:
    text = read("README.md")
    assert any(b.language == "python" and "gesso.load" in b.text for b in blocks(text))
    lines = [words[:2] for words in shell_lines(text)]
    assert ["make", "demo"] in lines and ["make", "test"] in lines


def test_shell_snippet_commands_and_flags_exist() -> None:
    lines = [words for words in map(gesso_words, shown_lines()) if words]
    assert lines, "the documents show the command line"
    for words in lines:
        assert words[0].startswith("-") or words[0] in commands(), f"the documents show `gesso {' '.join(words)}`"
        known = [] if words[0].startswith("-") else words[: 1 + (words[1:2] != [] and words[1] in parts(words[0]))]
        text = help_text(*known)
        assert unknown_flags(words, text) == [], f"gesso {' '.join(words)}"


def test_make_targets_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    shown = {word for words in shown_lines() if words[:1] == ["make"] for word in words[1:] if "=" not in word}
    assert shown and shown <= targets


def test_blocks_lines_and_flags_are_read_right() -> None:
    shell = "- item\n\n  ```bash\n  $ gesso toy D \\\n    --cuont=3 # why --not\n  make demo DEMO_ARGS='--size 8x8'\n  ```\n"
    document = f"text\n```python\nx = 1\n```\n{shell}and `gesso info M`, `gesso`.\n"
    assert blocks(document)[0] == Block("python", "x = 1\n", 3)
    words = [["toy", "D", "--cuont=3"], ["demo", "--size", "8x8"], ["info", "M"]]
    assert [gesso_words(line) for line in shell_lines(document)] == words
    assert unknown_flags(words[0], "--count INT --size") == ["--cuont"]
    assert unknown_flags(["--min", "-o"], "--minutes  --output, -o") == ["--min"]


# ------------------------------------------------------------------------------------------------- what files may hold

FORBIDDEN = {
    "an import of torchvision": r"^\s*(?:import|from)\s+torchvision\b",
    "a package registry's host": r"https?://[^\s)]*(?:pypi|pythonhosted|npmjs)",
    "a package registry's address option": r"(?:index[-_]url|find[-_]links)\b",
    "somebody's home folder": r"(?<![\w.~-])/(?:home|Users|root)/\w|[A-Z]:\\Users\\\w",
}


def offences(name: str, text: str) -> list[str]:
    patterns = {**FORBIDDEN, "this clone's own path": rf"(?<![\w.-]){re.escape(str(ROOT))}\b"}
    hits = ((what, m) for what, pattern in patterns.items() for m in re.finditer(pattern, text, re.M))
    return [f"{name} line {text.count(chr(10), 0, m.end()) + 1}: {what}: {m.group().strip()}" for what, m in hits]


def committed_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files are committed")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_committed_file_holds_what_it_must_not() -> None:
    found = []
    for path in committed_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found += offences(str(path.relative_to(ROOT)), content.decode("utf-8"))
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "  from " + "torchvision import models",
        "see https://" + "pypi.org/project/x",
        "pip install --extra-index" + "-url X",
        "read /" + "home/ann/data",
        f"cd {ROOT}",
    ],
)
def test_an_offence_is_found(text: str) -> None:
    assert len(offences("page.md", f"first line\n{text}\n")) == 1
    assert offences("page.md", "never import torchvision; see ~/data, ./root/x, https://arxiv.org/abs/1711.11585") == []


def test_no_source_file_is_over_450_lines() -> None:
    assert {name: lines for name, text in sources().items() if (lines := text.count("\n")) > 450} == {}


@pytest.mark.long
def test_the_benchmark_starts() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "throughput.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--seconds" in done.stdout
