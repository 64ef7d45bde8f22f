"""The three answers, and that a refusal which doesn't come is noticed."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import NotFound, PermissionDenied

from helpers.checks import Answer, NotDone, Wrong, answer, check, done, eventually, refused


def raising(error: Exception) -> object:
    raise error


@pytest.mark.parametrize(
    ("look", "state"),
    [
        (lambda: True, "done"),
        (lambda: [1], "done"),
        (lambda: False, "not yet"),
        (lambda: None, "not yet"),
        (list, "not yet"),
        (lambda: raising(NotFound("gone")), "not yet"),
        (lambda: raising(NameError("name 'x' is not defined", name="x")), "unknown"),
        (lambda: "the tag is v2", "wrong"),
        (lambda: raising(Wrong("the tag is v2")), "wrong"),
        (lambda: raising(PermissionDenied("no")), "wrong"),
    ],
)
def test_states(look, state: str) -> None:
    assert answer(look).state == state


def test_check_never_raises_and_shows_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    check("the repository exists", lambda: raising(RuntimeError("boom\nmore")), hint="Look at step 2.")
    assert capsys.readouterr().out == (
        "✗ the repository exists: wrong, because RuntimeError: boom\n  Hint: Look at step 2.\n"
    )


def test_done_raises_unless_done(capsys: pytest.CaptureFixture[str]) -> None:
    done("it is there", lambda: True, hint="unseen")
    assert capsys.readouterr().out == "✓ it is there\n"
    with pytest.raises(NotDone, match="○ it is there: not yet\n  Hint: make it"):
        done("it is there", lambda: False, hint="make it", seconds=0.2)


def test_line_of_each_state() -> None:
    assert Answer("not yet").line("t") == "○ t: not yet"
    assert Answer("wrong", "r").line("t") == "✗ t: wrong, because r"


def test_refused_wants_the_kind_and_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    with refused(PermissionDenied, match="artifactregistry"):
        raise PermissionDenied("artifactregistry.repositories.get denied")
    assert "✓ refused with PermissionDenied" in capsys.readouterr().out
    with pytest.raises(NotDone, match="went through"), refused(PermissionDenied):
        pass
    with pytest.raises(NotDone, match="doesn't say 'quota'"), refused(PermissionDenied, match="quota"):
        raise PermissionDenied("something else")
    with pytest.raises(NotFound), refused(PermissionDenied):
        raise NotFound("another kind")


def test_what_google_s_error_says_is_shown_without_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    address = "https://artifactregistry.googleapis.com/v1/projects/p?%24alt=json%3Benum-encoding%3Dint"
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo"}]
    with refused(PermissionDenied, match="403 GET https://"):
        raise PermissionDenied(f"GET {address}: Permission 'x' denied.", details=details)
    assert capsys.readouterr().out == "✓ refused with PermissionDenied: 403 Permission 'x' denied.\n"


def test_eventually_asks_again_and_gives_the_answer() -> None:
    answers = iter([NotFound("not there"), [], "there"])

    def look() -> object:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    assert eventually(look, seconds=5, every=0.01) == "there"
    with pytest.raises(NotDone, match=r"Not yet after 0\.05 seconds.*NotFound"):
        eventually(lambda: raising(NotFound("x")), seconds=0.05, every=0.01)
