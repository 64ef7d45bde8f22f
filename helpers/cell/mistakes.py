"""Common mistakes in a cell, with a hint for each.

Error messages of Python, gcloud and docker don't know what a learner tried to do.
"""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from helpers.cell import commands

NOT_A_SHELL: Final = "That is a command for a terminal: write %%terminal as the first line of the cell."
RUN_ABOVE: Final = "If a cell above makes it, run those first: Run → Run All Above Selected Cell."
NOT_TEXT: Final = (
    "What this workbook calls a name (wb.project, wb.repository, …) is an object. Where text is wanted, write "
    "str(wb.project); where a member is wanted, write account.member."
)
NOT_A_NAME: Final = (
    'A helper got text where it wants an object: as a name wb.image.tag("1.0.0") instead of "1.0.0", or wb.project '
    "instead of its id; as policies policies.parse(text)."
)
TWO_FORMS: Final = (
    "The name has two forms. docker takes $REGISTRY/$PROJECT_ID/…, because it talks to the address in front; "
    "gcloud takes $REGION-docker.pkg.dev/$PROJECT_ID/…"
)
UNSET: Final = (
    "A terminal cell knows the variables of the environment and its own, not those of Python. A variable of another "
    "terminal cell is gone; write both lines into one cell."
)
_UNSET: Final = re.compile(r"^bash: line \d+: (\w+): unbound variable$", re.MULTILINE)
_ALIKE: Final = 0.75
_TOOLS: Final = re.compile(
    r"(?:bash|cat|cd|cosign|crane|curl|docker|echo|export|gcloud|git|grep|gsutil|head|jq|ls|mkdir|python3?|sleep|source"
    r"|sudo|tail|unset|workbook)"
)
_WORD: Final = re.compile(r"[$!\s]*(?:[A-Z_]+=\S*\s+)*([a-z][\w-]*)")
_WANTED_TEXT: Final = re.compile(
    r"(?:must be|expected|concatenate|can't concat).*\bstr\b|is not JSON serializable|not iterable|os\.PathLike"
)
_TEXT_FOR_A_NAME: Final = re.compile(r"^'str' object has no attribute|is text, and a name is wanted$")
_NAMES: Final = re.compile(r"\b(?:Project|Location|Repository|Image|Tag|Digest|ServiceAccount)\b")
_NO_CONNECTION: Final = re.compile(
    r"Connect(?:ion(?:Refused)?Error|Timeout)|DeadlineExceeded|MaxRetryError|NewConnectionError|ProxyError|RetryError"
    r"|ServiceUnavailable|TransportError"
)
_GOOGLE_FORM: Final = re.compile(r"(?<![\w./-])[a-z0-9-]+-docker\.pkg\.dev/")
_LOOPBACK_FORM: Final = re.compile(r"(?<![\w./-])(?:localhost|127\.0\.0\.1):\d+/")
_SECONDS: Final = 2.0


def explain(error: BaseException, environment: Mapping[str, str]) -> str:
    """Return a hint for an error that ended a cell, or "" if it isn't a common mistake."""
    if isinstance(error, SyntaxError):
        return NOT_A_SHELL if _is_command(error.text or "") else ""
    if isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
        return NOT_A_SHELL if _TOOLS.fullmatch(error.name or "") else RUN_ABOVE
    text = str(error)
    if isinstance(error, TypeError) and _WANTED_TEXT.search(text) and _NAMES.search(text):
        return NOT_TEXT
    if isinstance(error, AttributeError | TypeError) and _TEXT_FOR_A_NAME.search(text):
        return NOT_A_NAME
    return sandbox_down(environment) if _has_no_connection(error) else ""


def sandbox_down(environment: Mapping[str, str]) -> str:
    """Return what to do if the environment's sandbox doesn't answer, or "" if it does or the target is Google."""
    url = environment.get("SANDBOX_URL", "")
    if environment.get("WORKBOOK_TARGET") != "sandbox" or not url:
        return ""
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname or "localhost", address.port or 80), timeout=_SECONDS):
            return ""
    except OSError:
        return (
            f"The sandbox doesn't run: nothing answers at {url}. Start it in a terminal with `workbook start`, then "
            "run this cell again. If that doesn't help, stop `make lab` with Ctrl-C and start it anew."
        )


def after_failure(script: str, values: Mapping[str, str], output: str = "") -> str:
    """Return a hint for a terminal cell that failed, or "" if it isn't a common mistake.

    Args:
        values: the environment, for the script's variables.
        output: the cell's output.
    """
    if unset := _UNSET.search(output):
        like = next((name for name in values if name.upper() == unset[1].upper()), "")
        like = like or next(iter(difflib.get_close_matches(unset[1].upper(), [*values], 1, _ALIKE)), "")
        return f"{UNSET} {f'Is ${like} what you mean?' if like else ''}".rstrip()
    for command in commands.split(script):
        full = commands.expand(command, values)
        if commands.uses(command, "docker") and _GOOGLE_FORM.search(full) and values.get("WORKBOOK_TARGET") != "gcp":
            return TWO_FORMS
        if commands.uses(command, "gcloud") and _LOOPBACK_FORM.search(full):
            return TWO_FORMS
    return ""


def _is_command(line: str) -> bool:
    found = _WORD.match(line)
    # `python = 3` is Python, and so is `cat(x)`.
    return bool(found and _TOOLS.fullmatch(found[1]) and re.match(r"\s+[^\s=]", line[found.end() :]))


def _has_no_connection(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if _NO_CONNECTION.fullmatch(type(seen).__name__):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
