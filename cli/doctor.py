"""`workbook doctor`: are the installed tools those that the outputs were recorded with, and is every command known?

The commands are all those that a learner can read.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from cli import command_lint
from cli.run import report
from cli.world import starter
from helpers import show
from helpers.target import ROOT

RECORDED: Final = ROOT / "docs" / "recorded_with.json"
FINE: Final = 0
UNKNOWN: Final = 1
MISSING: Final = 2
NOT_WHOLE: Final = 3

# Without these there is nothing to compare with.
_TOOLS: Final = ("gcloud", "docker", "docker engine")


@dataclass(frozen=True)
class Version:
    """One tool: the version that the outputs were recorded with, and the installed one; empty where it is missing."""

    tool: str
    recorded: str
    installed: str

    @property
    def verdict(self) -> str:
        """`same`, `newer`, `older`, `other` or `missing`."""
        if not self.installed:
            return "missing"
        if self.installed == self.recorded:
            return "same"
        try:
            old, new = _numbers(self.recorded), _numbers(self.installed)
        except ValueError:
            return "other"
        return "newer" if new > old else "older" if new < old else "other"


@dataclass(frozen=True)
class Refused:
    """A command that the installed gcloud doesn't know: where it stands, and gcloud's words."""

    where: str
    command: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """All versions, how many commands were linted, and those that were refused."""

    versions: tuple[Version, ...]
    linted: int
    refused: tuple[Refused, ...]
    world: starter.Checkup = field(default_factory=starter.Checkup)

    @property
    def code(self) -> int:
        """0 all is well, 1 a command is unknown, 2 a tool is missing and nobody can tell, 3 the world isn't whole."""
        if not self.world.whole:
            return NOT_WHOLE
        if any(one.verdict == "missing" for one in self.versions if one.tool in _TOOLS):
            return MISSING
        return UNKNOWN if self.refused else FINE

    def text(self) -> str:
        """Return a table of versions, then the commands, then one sentence."""
        rows = [(one.tool, one.recorded or "-", one.installed or "-", one.verdict) for one in self.versions]
        lines = [show.table(rows, ("tool", "recorded with", "installed", "")), ""]
        lines += [f"{one.where}: {one.command}\n  {one.reason}" for one in self.refused]
        differ = [one.tool for one in self.versions if one.verdict not in ("same", "missing")]
        if differ:
            lines.append(f"Not as recorded: {', '.join(differ)}. Outputs may read a little differently.")
        lines += self.world.says
        lines.append(
            {
                NOT_WHOLE: "Your world isn't whole. `workbook doctor --repair` mends what can be mended.",
                FINE: f"The installed gcloud knows all {self.linted} commands.",
                UNKNOWN: f"The installed gcloud doesn't know {len(self.refused)} of {self.linted} commands.",
                MISSING: "A tool is missing: `make setup` says how to get it.",
            }[self.code]
        )
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {
            "code": self.code,
            "versions": [asdict(one) | {"verdict": one.verdict} for one in self.versions],
            "linted": self.linted,
            "refused": [asdict(one) for one in self.refused],
            "world": asdict(self.world),
        }


def compare(recorded: Mapping[str, str], installed: Mapping[str, str]) -> tuple[Version, ...]:
    """Each tool that either side names, in the order of the recording."""
    tools = dict.fromkeys((*recorded, *installed))
    return tuple(Version(tool, recorded.get(tool, ""), installed.get(tool, "")) for tool in tools)


def diagnose() -> Diagnosis:
    """Look at everything; without gcloud nothing is linted. Changes nothing."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    versions = compare(recorded, report.versions())
    if not next((one.installed for one in versions if one.tool == "gcloud"), ""):
        return Diagnosis(versions, 0, ())
    found = command_lint.readable()
    with tempfile.TemporaryDirectory() as folder:
        verdicts = command_lint.lint([command for _, command in found], Path(folder))
    refused = [
        Refused(where, command, str(verdict.get("error_message") or "refused without a reason"))
        for (where, command), verdict in zip(found, verdicts, strict=True)
        if not verdict["success"]
    ]
    return Diagnosis(versions, len(found), tuple(refused))


def note(used: Mapping[str, str]) -> None:
    """Write down what the outputs were recorded with. Only `make record` calls it."""
    text = json.dumps(dict(used), indent=2, ensure_ascii=False) + "\n"
    RECORDED.write_text(text, encoding="utf-8")


def run(*, as_json: bool, say: Any, home: Path, repair: bool) -> int:
    """Print the diagnosis and return its code."""
    try:
        found = replace(diagnose(), world=starter.check(home, repair=repair))
    except subprocess.SubprocessError as error:
        say(f"gcloud's own linter failed: {error}")
        return MISSING
    say(json.dumps(found.json(), indent=2) if as_json else found.text())
    return found.code


def _numbers(text: str) -> tuple[int, ...]:
    """`28.2.2+dfsg1` as (28, 2, 2). Raises ValueError without a number in front."""
    return tuple(int(part) for part in text.partition("+")[0].partition("-")[0].split("."))
