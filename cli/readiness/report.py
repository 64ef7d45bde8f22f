"""The report on whether a project is ready for a real run: findings, who fixes them and how, as text and JSON."""

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
    """One check. `state` says who has to fix it: nobody (`ok` or `note`), you, or an administrator."""

    check: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Readiness:
    """All rows for one project, region and set of notebooks."""

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
        """Return a table, and then what to do, in an order that works."""
        lines = [
            f"Real run in project {self.project}, region {self.region}, "
            f"notebooks {', '.join(f'{number:02}' for number in self.notebooks)}",
            "",
            show.table(((row.check, row.state, row.found) for row in self.rows), ("check", "mended by", "found")),
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
        """Return the report as JSON."""
        return {
            "project": self.project,
            "region": self.region,
            "notebooks": list(self.notebooks),
            "code": self.code,
            "rows": [asdict(row) for row in self.rows],
        }
