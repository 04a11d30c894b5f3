"""Writes docs/commands.md, every command's help as it is now: `python examples/commands_page.py`."""

from __future__ import annotations

from pathlib import Path

from gesso.cli import COMMANDS, SUBCOMMANDS, make_app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = "<!-- Written by examples/commands_page.py and compared by a test: change the command, not this page. -->\n\n"


def page() -> str:
    """The page as the commands have it."""
    found = make_app().generate_docs("markdown", usage_name="gesso")
    for name, (_, example) in COMMANDS.items():
        shown = {f"{name} {part}": each for part, (_, each) in SUBCOMMANDS.get(name, {}).items()} or {name: example}
        for words, line in shown.items():
            usage = f"# gesso {words}\n\n```console\n"
            assert usage in found, f"the page has no section of gesso {words}"
            found = found.replace(usage, f"# gesso {words}\n\n```bash\n{line}\n```\n\n```console\n")
    return HEAD + "\n".join(line.rstrip() for line in found.splitlines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
