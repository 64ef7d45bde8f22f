"""Whether a project is ready for a real run: what was found, who fixes it and how, as text to paste and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from helpers import show

READY: Final = 0
YOU: Final = 1
ADMINISTRATOR: Final = 2

State = Literal["ok", "note", "you", "administrator"]


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. `state` says who fixes it: nobody (`ok`, or `note`), you, or an administrator."""

    check: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Readiness:
    """All rows for one project and region, and the notebooks that they were asked for."""

    project: str
    region: str
    notebooks: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def code(self) -> int:
        """0 ready, 1 you can fix it, 2 an administrator must."""
        states = {row.state for row in self.rows}
        return ADMINISTRATOR if "administrator" in states else YOU if "you" in states else READY

    def text(self) -> str:
        """Return a table, then what to do, in an order that works."""
        spoken = {"ok": "ok", "note": "note", "you": "you", "administrator": "administrator"}
        lines = [
            f"Real run in project {self.project}, region {self.region}, "
            f"notebooks {', '.join(f'{number:02}' for number in self.notebooks)}",
            "",
            show.table(
                ((row.check, spoken[row.state], row.found) for row in self.rows), ("check", "mended by", "found")
            ),
            "",
        ]
        todo = [row for row in self.rows if row.state in ("you", "administrator")]
        for number, row in enumerate(todo, 1):
            who = "You" if row.state == "you" else "An administrator"
            lines += [f"{number}. {row.check}. {who}:", *(f"     {line}" for line in row.mend.splitlines())]
        if todo:
            lines.append("")
        verdicts = {
            READY: "Ready.",
            YOU: "Not ready: you can mend it.",
            ADMINISTRATOR: "Not ready: an administrator must mend it. Paste this report into your request.",
        }
        return "\n".join([*lines, f"{verdicts[self.code]} Nothing was changed."])

    def json(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {
            "project": self.project,
            "region": self.region,
            "notebooks": list(self.notebooks),
            "code": self.code,
            "rows": [asdict(row) for row in self.rows],
        }
