"""Parse Dockerfiles as Docker's classic builder does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import Refused, bad_request

KNOWN = frozenset(
    (
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    )
)
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)
_HERE_DOCUMENT = re.compile(r"<<-?['\"]?[A-Za-z_]\w*['\"]?")


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, its `--options`, and the rest of the line."""

    word: str
    flags: tuple[tuple[str, str], ...]
    rest: str
    line: str
    number: int = 0

    def flag(self, name: str) -> str:
        """Return the value of an option, "" where it isn't given."""
        return dict(self.flags).get(name, "")


def parse(text: str, name: str = "Dockerfile") -> list[Instruction]:
    """Return the instructions of a Dockerfile. Raises Refused where the classic builder reports an error."""
    found = []
    for number, line in _lines(text.lstrip("\ufeff")):
        at = f"dockerfile parse error line {number}: "
        word, _, rest = line.partition(" ") if " " in line else line.partition("\t")
        word, rest = word.upper(), rest.strip()
        if word == "ONBUILD":
            raise bad_request("the workbook's engine does not do this: ONBUILD in a Dockerfile")
        if word not in KNOWN:
            raise bad_request(f"{at}unknown instruction: {word}")
        if not rest and word not in ("CMD", "RUN", "ENTRYPOINT"):
            raise bad_request(f"{at}{word} requires at least one argument")
        flags = []
        if word in ("FROM", "COPY", "ADD", "RUN", "HEALTHCHECK"):
            while rest.startswith("--"):
                option, _, rest = rest.partition(" ")
                rest = rest.strip()
                flag, _, value = option[2:].partition("=")
                flags.append((flag, value))
        for flag, _ in flags:
            _check_flag(word, flag, at)
        _check_form(word, rest, at, name)
        if word in ("RUN", "COPY", "ADD") and _HERE_DOCUMENT.search(rest) and word != "RUN":
            raise bad_request("the workbook's engine does not do this: here-documents (they need BuildKit)")
        found.append(Instruction(word, tuple(flags), rest, " ".join([word, *line.split(None, 1)[1:]]).strip(), number))
    if not found:
        raise bad_request(f"failed to parse {name}: file with no instructions")
    first = next((one for one in found if one.word != "ARG"), None)
    if first is None or first.word != "FROM":
        raise bad_request("no build stage in current context")
    return found


def until(instructions: list[Instruction], target: str) -> list[Instruction]:
    """Return the instructions up to the end of a stage, given by name or number. Raises Refused if there is none."""
    starts = [place for place, one in enumerate(instructions) if one.word == "FROM"]
    for number, place in enumerate(starts):
        parts = instructions[place].rest.split()
        if target == str(number) or (len(parts) == 3 and parts[2].lower() == target.lower()):
            return instructions[: starts[number + 1] if number + 1 < len(starts) else None]
    raise Refused(f"failed to reach build target {target} in Dockerfile", 400)


def _check_flag(word: str, name: str, at: str) -> None:
    allowed = {
        "FROM": ("platform",),
        "COPY": ("from", "chown"),
        "ADD": ("chown",),
        "HEALTHCHECK": ("interval", "timeout", "start-period", "retries"),
    }
    if name in allowed.get(word, ()):
        return
    if name in ("mount", "network", "security", "chmod", "link", "checksum", "parents", "exclude", "keep-git-dir"):
        raise bad_request(
            f"the --{name} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to "
            "build images with BuildKit enabled"
        )
    raise bad_request(f"{at}Unknown flag: {name}")


def _check_form(word: str, rest: str, at: str, name: str) -> None:
    """Raise Refused for an error that shows before anything is built."""
    if word == "FROM" and (
        len(rest.split()) not in (1, 3) or (len(rest.split()) == 3 and rest.split()[1].lower() != "as")
    ):
        raise bad_request(f"{at}FROM requires either one or three arguments")
    if word in ("ENV", "LABEL") and "=" not in rest.split()[0] and len(rest.split()) < 2:
        raise bad_request(f"failed to parse {name}: {word} must have two arguments")
    if word == "SHELL" and not json_form(rest):
        raise bad_request(f"{at}SHELL requires the arguments to be in JSON form")
    kind = rest.split()[0].upper() if rest else ""
    if word == "HEALTHCHECK" and kind not in ("NONE", "CMD"):
        raise bad_request(f"{at}Unknown type {json.dumps(kind)} in HEALTHCHECK (try CMD)")


def _lines(text: str) -> list[tuple[int, str]]:
    escape, found, current, directives, begun = "\\", [], "", True, 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.rstrip()
        if directives:
            match = _ESCAPE.match(line.strip())
            if match and match[1] in "\\`":
                escape = match[1]
            directives = line.strip().startswith("#") and "=" in line
        if line.strip().startswith("#"):
            continue
        if not line.strip():
            continue
        begun = begun if current else number
        part = line.lstrip() if not current else line
        if part.endswith(escape):
            current += part[:-1]
            continue
        found.append((begun, (current + part).strip()))
        current = ""
    if current.strip():
        found.append((begun, current.strip()))
    return found


def json_form(rest: str) -> list[str] | None:
    """Return the strings of an instruction in the form `["a", "b"]`, or None for a shell command."""
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None


_VARIABLE = re.compile(r"\\(.)|\$\{(\w+)(?:(:[-+?])((?:[^{}$]|\$\w+|\$\{\w+\})*))?\}|\$(\w+)", re.DOTALL)


def expand(text: str, scope: Mapping[str, str]) -> str:
    """Replace variables: `$A`, `${A}`, `${A:-other}`, `${A:+other}`."""

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return "$" if match[1] == "$" else "\\" + match[1]
        name, operator = match[2] or match[5], match[3]
        value = scope.get(name, "")
        if operator == ":-":
            return value or expand(match[4], scope)
        if operator == ":+":
            return expand(match[4], scope) if value else ""
        if operator == ":?" and not value:
            raise bad_request(f"{name}: {match[4] or 'not set'}")
        return value

    return _VARIABLE.sub(one, text)


def words(text: str, scope: Mapping[str, str], *, split: bool = True) -> list[str]:
    """Split a line into words, remove quotes, and replace variables except in single quotes."""
    found, current, started, place = [], "", False, 0
    while place < len(text):
        char = text[place]
        if char in " \t" and split:
            if started:
                found.append(current)
            current, started, place = "", False, place + 1
            continue
        started = True
        if char == "'":
            end = text.find("'", place + 1)
            if end < 0:
                raise bad_request(
                    "failed to process "
                    + json.dumps(text)
                    + ": unexpected end of statement while looking for matching single-quote"
                )
            current += text[place + 1 : end]
            place = end + 1
        elif char == '"':
            inner, place = "", place + 1
            while place < len(text) and text[place] != '"':
                if text[place] == "\\" and place + 1 < len(text):
                    inner += text[place : place + 2]
                    place += 2
                else:
                    inner += text[place]
                    place += 1
            if place >= len(text):
                raise bad_request(
                    "failed to process "
                    + json.dumps(text)
                    + ": unexpected end of statement while looking for matching double-quote"
                )
            place += 1
            current += re.sub(r'\\(["\\])', r"\1", expand(inner, scope))
        elif char == "\\" and place + 1 < len(text):
            current += text[place + 1]
            place += 2
        elif char == "$":
            match = _VARIABLE.match(text, place)
            if match:
                current += expand(match[0], scope)
                place = match.end()
            else:
                current, place = current + char, place + 1
        else:
            current, place = current + char, place + 1
    if started:
        found.append(current)
    return found


def pairs(rest: str, scope: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the names and values of ENV and LABEL, also of the old form `NAME value`. Raises Refused."""
    first = re.match(r"\S+", rest)
    if first and "=" not in first[0]:
        name, _, value = rest.partition(" ")
        if not value.strip():
            raise bad_request("ENV must have two arguments")
        return [(name, "".join(words(value.strip(), scope, split=False)))]
    found = []
    for text in _raw_words(rest):
        name, equals, value = text.partition("=")
        if not equals:
            raise bad_request(f"Syntax error - can't find = in {json.dumps(text)}. Must be of the form: name=value")
        found.append(("".join(words(name, scope, split=False)), "".join(words(value, scope, split=False))))
    return found


def _raw_words(text: str) -> list[str]:
    """Split at blanks outside quotes, and keep the quotes."""
    return re.findall(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""", text, re.DOTALL)


def seconds(text: str) -> int:
    """Return the nanoseconds of a duration such as `5s` or `1m30s`. Raises Refused."""
    units = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise bad_request(f"time: invalid duration {json.dumps(text)}")
    return int(sum(float(number) * units[unit] for number, unit in parts))


def duration(value: int) -> str:
    """Return a duration in Go's notation."""
    if value == 0:
        return "0s"
    whole = value / 10**9
    if whole < 1:
        return f"{value / 10**6:g}ms"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    text = f"{int(hours)}h" if hours else ""
    text += f"{int(minutes)}m" if minutes or hours else ""
    return f"{text}{left:g}s"


def port(text: str) -> str:
    """Return a port of EXPOSE with its protocol, such as `8080/tcp`. Raises Refused."""
    number, _, protocol = text.partition("/")
    if not number.isdigit() or not 0 < int(number) < 65536 or protocol not in ("", "tcp", "udp"):
        raise bad_request(f"Invalid containerPort: {text}")
    return f"{number}/{protocol or 'tcp'}"


def healthcheck(instruction: Instruction) -> dict[str, Any]:
    """Return the configuration of a HEALTHCHECK. Raises Refused."""
    kind, _, rest = instruction.rest.partition(" ")
    if kind.upper() == "NONE":
        return {"Test": ["NONE"]}
    if not rest.strip():
        raise bad_request("Missing command after HEALTHCHECK CMD")
    listed = json_form(rest.strip())
    found: dict[str, Any] = {"Test": ["CMD", *listed] if listed is not None else ["CMD-SHELL", rest.strip()]}
    for name, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod")):
        if instruction.flag(name):
            found[key] = seconds(instruction.flag(name))
    if instruction.flag("retries"):
        found["Retries"] = int(instruction.flag("retries"))
    return found
