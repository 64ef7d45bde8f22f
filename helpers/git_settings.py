"""The variables with which git reads the sandbox's settings, so that the user's own settings are not changed.

The sandbox's file redirects the repositories that it hosts, and no others. The sandbox keeps it up to date.
Source: https://git-scm.com/docs/git-config#Documentation/git-config.txt-GITCONFIGCOUNT (since git 2.31).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_COUNT = "GIT_CONFIG_COUNT"


def changes(values: Mapping[str, str], home: Path | None) -> dict[str, str | None]:
    """Return the changes that add the sandbox's file to an environment, after its existing settings.

    Args:
        home: the sandbox's folder, or None for Google, for which a sandbox's file is removed.
    """
    count = values.get(_COUNT, "")
    before = [
        (values.get(f"GIT_CONFIG_KEY_{place}", ""), values.get(f"GIT_CONFIG_VALUE_{place}", ""))
        for place in range(int(count) if count.isdecimal() else 0)
    ]
    earlier = _setting(Path(values["WORKBOOK_HOME"])) if values.get("WORKBOOK_HOME") else None
    wanted = [one for one in before if one != earlier]
    if home is not None:
        wanted.append(_setting(home))
    result: dict[str, str | None] = {}
    for place in range(max(len(before), len(wanted))):
        key, value = wanted[place] if place < len(wanted) else (None, None)
        result |= {f"GIT_CONFIG_KEY_{place}": key, f"GIT_CONFIG_VALUE_{place}": value}
    return result | {_COUNT: str(len(wanted)) if wanted else None} if result else {}


def _setting(home: Path) -> tuple[str, str]:
    return "include.path", str(home / "git" / "config")
