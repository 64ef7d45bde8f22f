"""Substitutions in a build's configuration. Pure.

Sources: https://cloud.google.com/build/docs/build-config/substitute-variable-values and, for the template's grammar and
the messages, Google's open-source local builder (facts/artifact-registry.md section 5).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

ALWAYS = ("PROJECT_ID", "BUILD_ID", "PROJECT_NUMBER", "LOCATION")
# Set by a trigger, empty on a manual submit.
FROM_TRIGGER = (
    "TRIGGER_NAME",
    "COMMIT_SHA",
    "REVISION_ID",
    "SHORT_SHA",
    "REPO_NAME",
    "REPO_FULL_NAME",
    "BRANCH_NAME",
    "TAG_NAME",
    "REF_NAME",
    "TRIGGER_BUILD_CONFIG_PATH",
    "SERVICE_ACCOUNT_EMAIL",
    "SERVICE_ACCOUNT",
)
BUILT_IN = frozenset((*ALWAYS, *FROM_TRIGGER))
# "you can set these by hand": `--substitutions=SHORT_SHA=…,COMMIT_SHA=…,TAG_NAME=…`
OVERRIDABLE = frozenset(
    ("COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME", "REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME")
)

USER_KEY = re.compile(r"_[A-Z0-9_]+")
_USER_KEY_TEXT = "^_[A-Z0-9_]+$"
_MAX_KEY, _MAX_VALUE, _MAX_COUNT = 100, 4000, 200
_MAX_EXPANDED = 64 * 1024  # characters that the values put into one text

_NAME = r"[A-Z_][A-Z0-9_]*"
_TEMPLATE = re.compile(rf"\$\$|\$(?:(?P<plain>{_NAME})|\{{(?P<braced>{_NAME})\}})")
# What bash does to a variable, as far as the documentation lists it.
_DYNAMIC = re.compile(
    rf"\$\$|\$(?:(?P<plain>{_NAME})|\{{(?P<braced>{_NAME})(?P<form>:-|:\+|-|##?|%%?|//?|/|\^\^?|,,?|:)?"
    r"(?P<rest>(?:[^{}]|\$\{[^{}]*\})*)\})"
)
_DEPTH = 10


class SubstitutionError(ValueError):
    """A substitution that Cloud Build refuses. The message is Google's."""


def check_data(data: Mapping[str, str]) -> None:
    """Raise SubstitutionError for keys in `substitutions` that may not be set by hand, and for sizes over the limit."""
    if len(data) > _MAX_COUNT:
        raise SubstitutionError(f"number of substitutions {len(data)} exceeded (max: {_MAX_COUNT})")
    for key, value in data.items():
        if not USER_KEY.fullmatch(key) and key not in OVERRIDABLE:
            raise SubstitutionError(
                f'substitution key "{key}" does not respect format "{_USER_KEY_TEXT}" and is not an overridable '
                "built-in substitutions"
            )
        if len(key) > _MAX_KEY:
            raise SubstitutionError(f'substitution key "{key}" too long (max: {_MAX_KEY})')
        if len(value) > _MAX_VALUE:
            raise SubstitutionError(f'substitution value for key "{key}" too long (max: {_MAX_VALUE})')


def keys(text: str, *, dynamic: bool = False) -> list[str]:
    """Return the keys that a text names, in order. `$$` is an escaped `$`, not a key."""
    found: list[str] = []
    for match in (_DYNAMIC if dynamic else _TEMPLATE).finditer(text):
        key = match["plain"] or match["braced"]
        if key:
            found.append(key)
            if dynamic and match["rest"]:
                found += keys(match["rest"], dynamic=True)
    return found


def expand(text: str, values: Mapping[str, str], *, dynamic: bool = False) -> str:
    """Return the text with every key replaced and `$$` as `$`. A key without a value becomes empty.

    Args:
        dynamic: whether to expand bash's forms too (`${_A:-b}`, `${_A#b}`, `${_A/b/c}`, `${_A:1:2}`, `${_A^^}`),
            which Cloud Build does only with options.dynamicSubstitutions.
    """
    size = 0

    def counted(match: re.Match[str]) -> str:
        nonlocal size
        found = replace(match)
        size += len(found)
        if size > _MAX_EXPANDED:
            # unverified: the sentence
            raise SubstitutionError(f"substitutions make a text of more than {_MAX_EXPANDED} characters")
        return found

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        key = match["plain"] or match["braced"]
        value = values.get(key, "")
        if not dynamic or match["plain"] or (not match["form"] and not match["rest"]):
            return value
        rest = match["rest"] or ""
        if not match["form"]:
            return match[0]
        return _bash(value, match["form"], expand(rest, values, dynamic=True))

    return (_DYNAMIC if dynamic else _TEMPLATE).sub(counted, text)


def _bash(value: str, form: str, rest: str) -> str:
    match form:
        case ":-" | "-":
            return value or rest
        case ":+":
            return rest if value else ""
        case "#" | "##":
            return _cut(value, rest, front=True, longest=form == "##")
        case "%" | "%%":
            return _cut(value, rest, front=False, longest=form == "%%")
        case "/" | "//":
            pattern, _, by = rest.partition("/")
            return re.sub(_glob(pattern), lambda _: by, value, count=0 if form == "//" else 1) if pattern else value
        case "^^" | ",,":
            return value.upper() if form == "^^" else value.lower()
        case "^" | ",":
            head = value[:1].upper() if form == "^" else value[:1].lower()
            return head + value[1:]
        case _:
            return _slice(value, rest)


def _glob(pattern: str) -> str:
    return fnmatch.translate(pattern).removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")


def _cut(value: str, pattern: str, *, front: bool, longest: bool) -> str:
    whole = re.compile(_glob(pattern), re.DOTALL)
    lengths = range(len(value) + 1)
    for length in reversed(lengths) if longest else lengths:
        piece = value[:length] if front else value[len(value) - length :]
        if whole.fullmatch(piece):
            return value[length:] if front else value[: len(value) - length]
    return value


def _slice(value: str, rest: str) -> str:
    start, _, length = rest.partition(":")
    try:
        begin = int(start.strip() or "0")
        count = int(length.strip()) if length.strip() else None
    except ValueError:
        raise SubstitutionError(f'bad substitution: "{rest}" is no offset') from None
    if begin < 0:
        begin = max(len(value) + begin, 0)
    if count is None:
        return value[begin:]
    return value[begin:count] if count < 0 else value[begin : begin + count]


def resolve(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values with user substitutions that refer to others expanded, as dynamicSubstitutions does.

    Raises:
        SubstitutionError: if values refer to each other in a circle.
    """
    current = dict(values)
    for _ in range(_DEPTH):
        after = {
            key: expand(value, current, dynamic=True) if USER_KEY.fullmatch(key) else value
            for key, value in current.items()
        }
        if after == current:
            return current
        current = after
    # unverified: the sentence
    raise SubstitutionError("substitutions refer to each other in a circle")


# Fields of a step that are templates. `script` is not one: its variables come from the environment.
_STEP_TEXTS = ("name", "dir", "entrypoint", "id")
_STEP_LISTS = ("args", "env", "waitFor")


def templates(build: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a build that is a template."""
    for step in build.get("steps", ()):
        for field in _STEP_TEXTS:
            if step.get(field):
                yield step[field]
        for field in _STEP_LISTS:
            yield from step.get(field, ())
        for volume in step.get("volumes", ()):
            yield volume.get("name", "")
            yield volume.get("path", "")
    yield from build.get("images", ())
    yield from build.get("tags", ())
    yield from build.get("options", {}).get("env", ())
    for field in ("logsBucket", "serviceAccount"):
        if build.get(field):
            yield build[field]
    yield from build.get("artifacts", {}).get("images", ())


def check(
    build: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    loose: bool,
    dynamic: bool,
    known: Collection[str] = (),
) -> list[str]:
    """Return a warning for each mismatch between the templates and the data.

    Args:
        given: the user's substitutions.
        loose: ALLOW_LOOSE, under which a mismatch is a warning.
        known: keys that a trigger sets, which need not be used.

    Raises:
        SubstitutionError: for an unknown built-in, and for the first mismatch unless `loose`.
    """
    used: set[str] = set()
    warnings: list[str] = []
    texts = list(templates(build))
    if dynamic:
        texts += given.values()
    for text in texts:
        for key in keys(text, dynamic=dynamic):
            used.add(key)
            if key in given or key in BUILT_IN or key in known:
                continue
            if not key.startswith("_"):
                raise SubstitutionError(f'key in the template "{key}" is not a valid built-in substitution')
            warnings.append(f'key in the template "{key}" is not matched in the substitution data')
    automatic = build.get("options", {}).get("automapSubstitutions") or any(
        step.get("automapSubstitutions") for step in build.get("steps", ())
    )
    if not automatic:
        warnings += [
            f'key "{key}" in the substitution data is not matched in the template'
            for key in given
            if key.startswith("_") and key not in used
        ]
    if warnings and not loose:
        raise SubstitutionError(warnings[0])
    return warnings


def apply(build: Mapping[str, Any], values: Mapping[str, str], *, dynamic: bool) -> dict[str, Any]:
    """Return the build with every template expanded."""

    def expanded(text: str) -> str:
        return expand(text, values, dynamic=dynamic)

    result = dict(build)
    result["steps"] = [_step(step, expanded) for step in build.get("steps", ())]
    for field in ("images", "tags"):
        if build.get(field):
            result[field] = [expanded(text) for text in build[field]]
    for field in ("logsBucket", "serviceAccount"):
        if build.get(field):
            result[field] = expanded(build[field])
    if build.get("options", {}).get("env"):
        result["options"] = build["options"] | {"env": [expanded(text) for text in build["options"]["env"]]}
    if build.get("artifacts", {}).get("images"):
        result["artifacts"] = build["artifacts"] | {"images": [expanded(text) for text in build["artifacts"]["images"]]}
    return result


def _step(step: Mapping[str, Any], expanded: Callable[[str], str]) -> dict[str, Any]:
    result = dict(step)
    for field in _STEP_TEXTS:
        if step.get(field):
            result[field] = expanded(step[field])
    for field in _STEP_LISTS:
        if step.get(field):
            result[field] = [expanded(text) for text in step[field]]
    if step.get("volumes"):
        result["volumes"] = [{key: expanded(text) for key, text in volume.items()} for volume in step["volumes"]]
    return result
