"""Parse the script of a terminal cell: its commands, their tools, and their variables. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_GCLOUD_TOOLS: Final = ("gcloud", "docker-credential-gcloud")
_HEREDOC: Final = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_BETA: Final = re.compile(r"gcloud\s+beta\s")
_SCAN: Final = re.compile(r"gcloud\s+(?:\w+\s+)?artifacts\s+docker\s+images\s+scan\s")
# The positions at which bash takes the next word as a command.
_POSITION: Final = (
    r"(?:^|[;&|({!`]|\$\(|\b(?:if|then|else|elif|do|while|until|time|exec|command|env|sudo)\s)\s*(?:\w+=\S*\s+)*"
)


def split(script: str) -> tuple[str, ...]:
    """Return the script's commands with continued lines joined, without comments, blank lines and heredocs."""
    commands: list[str] = []
    pending = ""
    end_of_heredoc = ""
    for raw in script.splitlines():
        if end_of_heredoc:
            if raw.strip() == end_of_heredoc:
                end_of_heredoc = ""
            continue
        line = raw.strip()
        if not pending and (not line or line.startswith("#")):
            continue
        pending = f"{pending} {line}".strip() if pending else line
        if pending.endswith("\\"):
            pending = pending[:-1].rstrip()
            continue
        if _has_open_quote(pending):
            continue
        heredoc = _HEREDOC.search(pending)
        if heredoc:
            end_of_heredoc = heredoc[2]
        commands.append(pending)
        pending = ""
    if pending:
        commands.append(pending)
    return tuple(commands)


def uses(command: str, tool: str) -> bool:
    """Return whether the command runs `tool`, as opposed to having the word in an argument."""
    bare = re.sub(r"'[^']*'", "''", command)
    bare = re.sub(r"(?<!\S)#.*", "", bare)
    return re.search(rf"{_POSITION}{re.escape(tool)}(?![\w./-])", bare) is not None


def needing_gcloud(script: str) -> tuple[str, ...]:
    """Return the script's commands that run gcloud or its helper for docker."""
    return tuple(command for command in split(script) if any(uses(command, tool) for tool in _GCLOUD_TOOLS))


def components(script: str) -> frozenset[str]:
    """Return gcloud's components that the script needs: `beta`, and `local-extract` for a scan of a local image."""
    needed = set()
    for command in needing_gcloud(script):
        if _BETA.search(command):
            needed.add("beta")
        if _SCAN.search(command) and "--remote" not in command.split():
            needed.add("local-extract")
    return frozenset(needed)


def expand(command: str, values: Mapping[str, str]) -> str:
    """Return the command with variables replaced by `values`, except unknown ones and those in single quotes."""
    parts = re.split(r"('[^']*')", command) if command.count('"') == 0 else _outside_single_quotes(command)

    def fill(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2], match[0])

    return "".join(part if part.startswith("'") else _VARIABLE.sub(fill, part) for part in parts)


def _outside_single_quotes(command: str) -> list[str]:
    """Split at single-quoted parts. A single quote inside double quotes is an ordinary character."""
    parts, current, double = [], "", False
    position = 0
    while position < len(command):
        letter = command[position]
        if letter == '"':
            double = not double
        if letter == "'" and not double:
            end = command.find("'", position + 1)
            end = len(command) - 1 if end < 0 else end
            parts += [current, command[position : end + 1]]
            current, position = "", end + 1
            continue
        current += letter
        position += 1
    return [*parts, current]


def _has_open_quote(text: str) -> bool:
    quote = ""
    escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
    return bool(quote)
