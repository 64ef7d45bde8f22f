"""Lint the gcloud commands in notebooks and documentation with the installed gcloud."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from helpers.cell import commands, documents
from helpers.target import ROOT

# Values for the environment's variables that gcloud's parser accepts.
_VALUES: Final = {
    "PROJECT_ID": "my-project",
    "PROJECT_NUMBER": "123456789012",
    "REGION": "us-central1",
    "REPOSITORY": "ml-images",
    "IMAGE": "ml-predictor",
    "REGISTRY_HOST": "us-central1-docker.pkg.dev",
    "REGISTRY": "us-central1-docker.pkg.dev",
    "BILLING_ACCOUNT": "012345-6789AB-CDEF01",
    "WORKBOOK_RUN": "run-1",
    "TEAM": "ml",
    "DIGEST": f"sha256:{'0' * 64}",
}
_ASSIGNMENT: Final = re.compile(r'(?P<name>\w+)=(?:"(?P<quoted>(?:(?!\$\()[^"])*)"|(?P<bare>\w*))')
_FENCE: Final = re.compile(r"```(?:bash|sh|console)\n(.*?)```", re.DOTALL)


def _scripts() -> Iterator[tuple[str, str]]:
    """Yield every terminal cell and every fenced shell block with its place."""
    for path in documents.notebooks():
        for cell in documents.read(path).cells:
            source = cell.source
            where = f"{path.name}#{cell.id}"
            if cell.cell_type == "markdown":
                for block in _FENCE.findall(source):
                    yield where, block
            elif source.startswith("%%terminal") and "--refused" not in source.partition("\n")[0]:
                yield where, source.partition("\n")[2]
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in _FENCE.findall(path.read_text()):
            yield path.name, block


def _gcloud(script: str) -> Iterator[str]:
    """Yield a script's gcloud commands, also from pipelines and substitutions, with variables expanded."""
    values = dict(_VALUES)
    for command in commands.split(script):
        full = re.sub(r"(?<!\S)#.*", "", commands.expand(command, values))
        if assigned := _ASSIGNMENT.fullmatch(full.strip()):
            values[assigned["name"]] = assigned["quoted"] or assigned["bare"] or ""
        full = re.sub(r"\$\(printf[^)]*\)", "value", full)
        for start in re.finditer(r"(?:^|[;&|(]\s*|\$\()\s*(?:\w+=\S*\s+)*(gcloud\s)", full):
            yield _until_end(full[start.start(1) :])


def _until_end(text: str) -> str:
    """Return the command up to the unquoted pipe, redirection, separator or bracket that ends it."""
    quote, depth = "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")" and depth:
            depth -= 1
        elif letter in "|;&)" or (letter in "<>" and text[place - 1] in " 12"):
            return text[:place].rstrip(" 12") if letter in "<>" else text[:place].strip()
    return text.strip()


def readable() -> list[tuple[str, str]]:
    """Return every gcloud command in notebooks and documentation with its place."""
    return [(where, command) for where, script in _scripts() for command in _gcloud(script)]


def lint(found: Sequence[str], folder: Path) -> list[dict[str, object]]:
    """Return gcloud's verdict on each command: `success`, and an `error_message` where it is false.

    gcloud's exit status is 0 even for an unknown flag. `folder` is for a temporary file. Raises
    subprocess.CalledProcessError when gcloud itself fails.
    """
    file = folder / "commands.txt"
    # The linter only reads shell blocks in Markdown.
    file.write_text("".join(f"```\n{command}\n```\n" for command in found))
    ran = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-text-file={file}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    verdicts: list[dict[str, object]] = json.loads(ran.stdout)
    return verdicts
