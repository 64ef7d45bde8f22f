"""`workbook doctor`: compare the installed tools with the recorded ones, and lint all commands for learners."""

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

# Without these, commands can't be checked.
_TOOLS: Final = ("gcloud", "docker", "docker engine")


@dataclass(frozen=True)
class Version:
    """One tool with the recorded version and the installed one, which is empty if it is missing."""

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
    """A command that the installed gcloud doesn't know, with its place and gcloud's message."""

    where: str
    command: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """All versions, the number of linted commands, the unknown ones, and the world's state."""

    versions: tuple[Version, ...]
    linted: int
    refused: tuple[Refused, ...]
    world: starter.Checkup = field(default_factory=starter.Checkup)

    @property
    def code(self) -> int:
        """0 for no problem, 1 for an unknown command, 2 for a missing tool, 3 for a damaged world."""
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
        lines += self.world.lines
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
        """Return the diagnosis as JSON."""
        return {
            "code": self.code,
            "versions": [asdict(one) | {"verdict": one.verdict} for one in self.versions],
            "linted": self.linted,
            "refused": [asdict(one) for one in self.refused],
            "world": asdict(self.world),
        }


def compare(recorded: Mapping[str, str], installed: Mapping[str, str]) -> tuple[Version, ...]:
    """Return the versions of all tools of either side, in the order of the recording."""
    tools = dict.fromkeys((*recorded, *installed))
    return tuple(Version(tool, recorded.get(tool, ""), installed.get(tool, "")) for tool in tools)


def diagnose() -> Diagnosis:
    """Compare versions, and lint commands if gcloud is installed. Changes nothing."""
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
    """Store the versions with which the outputs were recorded."""
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
    """Return `28.2.2+dfsg1` as (28, 2, 2). Raises ValueError if it doesn't begin with a number."""
    return tuple(int(part) for part in text.partition("+")[0].partition("-")[0].split("."))
