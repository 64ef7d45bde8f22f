"""Checks of a learner's work, whose result is ✓ done, ○ not yet, or ✗ wrong with the reason.

A check takes a function that inspects the actual resources, never the learner's variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from helpers import waiting

T = TypeVar("T")

# google-api-core begins a message with the request: `GET https://…?%24alt=json%3Benum-encoding%3Dint: `
_REQUEST = re.compile(r"^[A-Z]+ https?://\S+: ")
_MARKS = {"done": "✓", "not yet": "○", "wrong": "✗", "unknown": "○"}


class Wrong(Exception):
    """The learner's result is wrong. A check raises it with the reason as the message."""


class NotDone(AssertionError):
    """A step isn't done, or a refusal didn't come. Shown without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Answer:
    """The result of a check."""

    state: Literal["done", "not yet", "wrong", "unknown"]
    reason: str = ""

    def line(self, title: str, hint: str = "") -> str:
        """Return the line for the learner, followed by the hint unless the step is done."""
        head = f"{_MARKS[self.state]} {title}"
        if self.state == "done":
            return head
        if self.state == "unknown":
            return f"{head}: {self.reason}"
        text = f"{head}: not yet" if self.state == "not yet" else f"{head}: wrong, because {self.reason}"
        return f"{text}\n  Hint: {hint}" if hint else text


def answer(look: Callable[[], object]) -> Answer:
    """Run the check and map the outcome to done, not yet, wrong or unknown.

    True is done. False, None and an error "not found" are not yet. A text is the reason why it is wrong, and so is the
    message of any other error. Any other value is done when it is truthy. A NameError is unknown, because it says
    nothing about the result.
    """
    try:
        found = look()
    except Wrong as error:
        return Answer("wrong", _sentence(error))
    except UnboundLocalError as error:
        return Answer("wrong", f"{type(error).__name__}: {_sentence(error)}")
    except NameError as error:
        # The kernel was restarted, or a cell above wasn't run. The learner's work may be complete.
        return Answer(
            "unknown", f"this kernel doesn't know `{error.name}` yet. Run the cells above, then this one again."
        )
    except Exception as error:  # noqa: BLE001 - whatever a client raises: a check reports, it never stops a notebook
        return (
            Answer("not yet")
            if _is_not_found(error)
            else Answer("wrong", f"{type(error).__name__}: {_sentence(error)}")
        )
    if isinstance(found, str):
        return Answer("wrong", found) if found else Answer("not yet")
    return Answer("done" if found else "not yet")


def check(title: str, look: Callable[[], object], hint: str = "") -> None:
    """Print the result of a check. Never raises."""
    print(answer(look).line(title, hint))


def done(title: str, look: Callable[[], object], hint: str = "", seconds: float = 10.0) -> None:
    """Print ✓ when the step is done. Raises NotDone when it still isn't after `seconds`, or is wrong.

    On Google a change may take a moment to become visible.
    """
    for _ in waiting.attempts(seconds):
        found = answer(look)
        if found.state != "not yet":
            break
    if found.state != "done":
        raise NotDone(found.line(title, hint))
    print(found.line(title))


@contextmanager
def refused(kind: type[BaseException] | tuple[type[BaseException], ...], match: str = "") -> Iterator[None]:
    """Expect the block to raise `kind` with a message that matches the regular expression, and print the message.

    Raises NotDone when nothing is raised or the message doesn't match. Other errors pass through.
    """
    expected = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
    try:
        yield
    except kind as error:
        text = str(error)
        if match and not re.search(match, text):
            raise NotDone(f"{type(error).__name__} came, but its message doesn't say {match!r}: {text}") from error
        print(f"✓ refused with {type(error).__name__}: {_sentence(error)}")
        return
    raise NotDone(f"This was expected to be refused with {expected}, and it went through.")


def eventually(look: Callable[[], T], seconds: float = 60.0, every: float = 1.0) -> T:
    """Call `look` until its result is truthy, and return it. Use it for changes that take a while on Google.

    Errors count as "not yet". Raises NotDone with the last error or result after `seconds`.
    """
    last: object = None
    for _ in waiting.attempts(seconds, first=min(0.05, every), longest=every):
        try:
            found = look()
            if found:
                return found
            last = found
        except Exception as error:  # noqa: BLE001 - until a change has propagated, any client may raise any error
            last = f"{type(error).__name__}: {_sentence(error)}"
    raise NotDone(f"Not yet after {seconds:g} seconds. The last answer was: {last}")


def said(error: BaseException) -> str:
    """Return an error's text, which for Google's errors is the status and the message without address and details."""
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if not isinstance(message, str) or not type(error).__module__.startswith("google."):
        return str(error)
    text = _REQUEST.sub("", message)
    return f"{int(code)} {text}" if isinstance(code, int) else text


def _sentence(error: BaseException) -> str:
    return next((line.strip() for line in said(error).splitlines() if line.strip()), type(error).__name__)


def _is_not_found(error: Exception) -> bool:
    """Return whether an error of Google's, requests' or docker's client is a 404, without importing any of them."""
    response = getattr(error, "response", None)
    codes = (getattr(error, "code", None), getattr(error, "status_code", None), getattr(response, "status_code", None))
    return 404 in codes or type(error).__name__ == "NotFound"
