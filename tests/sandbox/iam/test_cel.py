"""Evaluate the CEL of attribute mappings and conditions, and refuse invalid and unlimited expressions.

The examples of `extract` are those of https://cloud.google.com/iam/docs/conditions-attribute-reference#extract, the
others those of https://github.com/google/cel-go/tree/master/ext#strings.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.iam import cel

ASSERTION: dict[str, Any] = {
    "sub": "repo:Octo/Models:ref:refs/heads/main",
    "path": "projects/_/buckets/acme-orders-aaa/data_lake/orders/order_date=2019-11-03/aef87g87ae0876",
    "list": ["a", "b"],
    "dotted.claim": "c",
    "yes": True,
    "seven": 7,
    "google": "a claim of that name",
}
NAMES = frozenset({"assertion", "google"})


def value(text: str) -> Any:
    return cel.compile_expression(text, NAMES).evaluate({"assertion": ASSERTION, "google": {"subject": "me"}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("assertion.path.extract('/order_date={date}/')", "2019-11-03"),
        ("assertion.path.extract('buckets/{name}/')", "acme-orders-aaa"),
        ("assertion.path.extract('/orders/{empty}order_date')", ""),
        ("assertion.path.extract('{start}/data_lake')", "projects/_/buckets/acme-orders-aaa"),
        ("assertion.path.extract('orders/{end}')", "order_date=2019-11-03/aef87g87ae0876"),
        ("assertion.path.extract('{all}')", ASSERTION["path"]),
        ("assertion.path.extract('/orders/{none}/order_date=')", ""),
        ("assertion.path.extract('nowhere{x}')", ""),
        ("assertion.sub.split(':')[1]", "Octo/Models"),
        ("'hello hello hello'.split(' ', 0)", []),
        ("'hello hello hello'.split(' ', 1)", ["hello hello hello"]),
        ("'hello hello hello'.split(' ', 2)", ["hello", "hello hello"]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("assertion.list.join('-')", "a-b"),
        ("assertion.list.join()", "ab"),
        ("[].join('/')", ""),
        ("'TacoCÆt'.lowerAscii()", "tacocÆt"),
        ("'TacoCæt'.upperAscii()", "TACOCæT"),
        ("'hello hello'.replace('he', 'we')", "wello wello"),
        ("'hello hello'.replace('he', 'we', 1)", "wello hello"),
        ("'tacocat'.substring(4)", "cat"),
        ("'tacocat'.substring(0, 4)", "taco"),
        ("'hello'.charAt(4)", "o"),
        ("'hello'.charAt(5)", ""),
        ("'hello mellow'.indexOf('ello', 2) == 7", True),
        ("'hello mellow'.lastIndexOf('ello') == 7", True),
        ("'  trim  '.trim()", "trim"),
        ("assertion['dotted.claim']", "c"),
        ("assertion.google", "a claim of that name"),
        ("google.subject", "me"),
        ("has(assertion.gone) ? 'yes' : 'no'", "no"),
        ("assertion.list.exists(x, x == 'b') && assertion.list.all(x, x != 'c')", True),
        ("assertion.list.map(x, x + '!').join(' ')", "a! b!"),
        ("'a' in assertion.list", True),
        ("assertion.sub.matches('^repo:[A-Z]')", True),
        ("assertion.yes || assertion.gone", True),
        ("size(assertion.sub) > 7 && assertion.seven == 7", True),
        ("string(assertion.seven)", "7"),
    ],
)
def test_expression_has_the_expected_value(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Syntax error"),
        ("(", "Syntax error"),
        ("assertion.sub ==", "Syntax error"),
        ("assertion.sub = 'x'", "Syntax error"),
        ("attribute.x", "undeclared reference to 'attribute' (in container '')"),
        ("x", "undeclared reference to 'x'"),
        ("open('/etc/passwd')", "undeclared reference to 'open'"),
        ("assertion.sub.format()", "undeclared reference to 'format'"),
        ("assertion.list.exists(x, x == y)", "undeclared reference to 'y'"),
        ("assertion.list.exists('a', true)", "the first argument of exists"),
        ("assertion.list.exists(x, assertion.list.exists(y, y == x))", "the macro exists inside another one"),
        ("google.rpc.Status{code: 1}", "neither messages"),
        (".assertion", "neither messages"),
        ("(" * 1000 + "1" + ")" * 1000, "nested too deeply"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_invalid_expression_does_not_compile(text: str, words: str) -> None:
    with pytest.raises(cel.NotCompiled) as caught:
        cel.compile_expression(text, NAMES)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "assertion.gone",
        "assertion.gone.further",
        "assertion.sub.split(':')[9]",
        "assertion.sub + 1",
        "assertion.seven.lowerAscii()",
        "assertion.list.lowerAscii()",
        "assertion.sub.join(',')",
        "assertion.list.map(x, 1).join(',')",
        "'x'.substring(2)",
        "'x'.charAt(2)",
        "'x'.extract('no place')",
        "'x'.extract('{a}{b}')",
        "'x'.split(1)",
        "int('seven')",
        "1 / 0 == 1",
        "assertion.sub.matches('(?=x)')",
    ],
)
def test_expression_without_value_raises(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(cel.NotEvaluated):
        value(text)
    # By default, RE2 logs a refused pattern to standard error.
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("assertion.sub == google.subject", {"assertion.sub", "google.subject"}),
        ("assertion['a.b'] == ''", {"assertion.a.b"}),
        ("has(assertion.sub)", {"assertion.sub"}),
        ("'assertion.sub' == ''", set()),
        ("true", set()),
        ("assertion.list.exists(x, x == google.subject)", {"assertion.list", "google.subject"}),
    ],
)
def test_expression_lists_its_references(text: str, expected: set[str]) -> None:
    assert cel.compile_expression(text, NAMES).references == expected


def test_length_of_a_result_is_limited() -> None:
    for text in (
        "'a'" + ".replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')" * 30,
        "'" + "a" * 500 + "'" + ".split('').join('" + "b" * 500 + "')",
    ):
        with pytest.raises(cel.NotEvaluated, match="65536 characters"):
            value(text)


@given(st.text(max_size=40), st.text(min_size=1, max_size=5), st.text(max_size=5))
def test_join_reverses_split(text: str, separator: str, other: str) -> None:
    compiled = cel.compile_expression("assertion.t.split(assertion.s).join(assertion.s)", NAMES)
    assert compiled.evaluate({"assertion": {"t": text, "s": separator, "o": other}}) == text


@given(
    st.text(alphabet="ab/:{}", max_size=30), st.text(alphabet="ab/:", max_size=4), st.text(alphabet="ab/:", max_size=4)
)
def test_extracted_text_is_between_its_delimiters(text: str, before: str, after: str) -> None:
    compiled = cel.compile_expression("assertion.t.extract(assertion.p)", NAMES)
    found = compiled.evaluate({"assertion": {"t": text, "p": f"{before}{{x}}{after}"}})
    assert not found or f"{before}{found}{after}" in text


@given(st.text(max_size=60))
def test_any_text_compiles_or_raises_not_compiled(text: str) -> None:
    with contextlib.suppress(cel.NotCompiled, cel.NotEvaluated):
        cel.compile_expression(text, NAMES).evaluate({"assertion": ASSERTION, "google": {}})
