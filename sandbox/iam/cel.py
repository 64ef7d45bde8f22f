"""The Common Expression Language of attribute mappings and conditions: cel-python with Google's extra functions.

An expression is compiled when a provider is stored, and evaluated at every token exchange. cel-python only reports an
undeclared name when it evaluates; Google's compiler reports it earlier, and so does `compile_expression`.
Sources: https://github.com/google/cel-spec/blob/master/doc/langdef.md; `extract` of
https://cloud.google.com/iam/docs/conditions-attribute-reference#extract; the functions on strings of
https://github.com/google/cel-go/tree/master/ext#strings, of which Google's own examples use `split`, `join` and
`lowerAscii`.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import celpy
import lark
import re2
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.celtypes import BoolType, IntType, ListType, StringType
from celpy.evaluation import CELEvalError

_LONGEST = 1 << 16  # characters of a string that a function returns; unverified: Google limits an expression's cost
_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_CALLED = frozenset({"bool", "bytes", "double", "duration", "dyn", "has", "int", "matches", "size", "string"})
_CALLED |= {"timestamp", "type", "uint"}
_PLACE = re.compile(r"\{[^{}]*\}")
_lock = threading.Lock()


class NotCompiled(ValueError):
    """The text is not a valid expression, or it uses an undeclared name."""


class NotEvaluated(ValueError):
    """The expression has no value: the token lacks a claim, for example, or two types do not match."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression.

    Attributes:
        references: the fields of variables that it uses, for example `assertion.repository`.
    """

    text: str
    references: frozenset[str]
    program: celpy.Runner

    def evaluate(self, variables: Mapping[str, Mapping[str, Any]]) -> Any:
        """Return the value as a JSON type.

        Raises:
            NotEvaluated: if there is none.
        """
        try:
            # The library is not thread-safe.
            with _lock:
                found = self.program.evaluate({_own(name): json_to_cel(dict(held)) for name, held in variables.items()})
        except (CELEvalError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise NotEvaluated(str(error)) from None
        return _plain(found)


def _own(name: str) -> str:
    """Return a variable's internal name: the library would read `google` as a package."""
    return f"{name}_"


def _plain(value: Any) -> Any:
    """Return a CEL value as a plain Python value; types that JSON lacks stay unchanged."""
    if isinstance(value, BoolType):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, ListType):
        return [_plain(one) for one in value]
    return value


def compile_expression(text: str, variables: frozenset[str]) -> Expression:
    """Compile an expression over these variables.

    Raises:
        NotCompiled: the message says why.
    """
    try:
        with _lock:
            return _compiled(text, variables)
    except CELParseError as error:
        raise NotCompiled(f"Syntax error at line {error.line or 1}, column {error.column or 1}") from None
    except RecursionError:
        raise NotCompiled("the expression is nested too deeply") from None


@functools.lru_cache(maxsize=256)
def _compiled(text: str, variables: frozenset[str]) -> Expression:
    environment = celpy.Environment()
    tree = environment.compile(text)
    references: set[str] = set()
    _look(tree, variables | _TYPES, variables, references, inside=False)
    return Expression(text, frozenset(references), environment.program(tree, functions=dict(_FUNCTIONS)))


def _look(
    tree: lark.Tree[Any], names: frozenset[str], variables: frozenset[str], references: set[str], *, inside: bool
) -> None:
    """Collect the references of a subtree and raise for an undeclared name, or for a macro `inside` a macro."""
    kind, children = str(tree.data), tree.children
    if kind == "ident":
        name = str(children[0])
        _declared(name, names)
        if name in variables:
            children[0] = lark.Token("IDENT", _own(name))
    elif kind == "ident_arg":
        _declared(str(children[0]), _CALLED)
    elif kind in ("dot_ident", "dot_ident_arg", "member_object"):
        raise NotCompiled("the workbook's sandbox knows neither messages nor names that begin with a dot")
    elif kind == "member_dot_arg":
        method = str(children[1])
        if method in _MACROS:
            if inside:
                raise NotCompiled(f"the macro {method} inside another one is more than the workbook's sandbox does")
            _look_into(children[0], names, variables, references, inside=inside)
            bound = _root(children[2].children[0]) if len(children) > 2 and isinstance(children[2], lark.Tree) else ""
            if not bound:
                raise NotCompiled(f"the first argument of {method} is a name")
            _look_into(children[2], names | {bound}, variables, references, inside=True)
            return
        _declared(method, _METHODS)
    if kind in ("member_dot", "member_index") and (root := _root(children[0])) in variables:
        field = _field(children[1]) if kind == "member_index" else str(children[1])
        references.add(f"{root}.{field}")
    for child in children:
        _look_into(child, names, variables, references, inside=inside)


def _look_into(child: Any, names: frozenset[str], variables: frozenset[str], found: set[str], *, inside: bool) -> None:
    if isinstance(child, lark.Tree):
        _look(child, names, variables, found, inside=inside)


def _root(node: Any) -> str:
    """Return the identifier that a subtree consists of, or ""."""
    while isinstance(node, lark.Tree) and len(node.children) == 1:
        if node.data == "ident":
            return str(node.children[0])
        node = node.children[0]
    return ""


def _field(node: Any) -> str:
    while isinstance(node, lark.Tree) and len(node.children) == 1:
        node = node.children[0]
    return str(node)[1:-1] if str(node)[:1] in "'\"" else "*"


def _declared(name: str, names: frozenset[str]) -> None:
    if name not in names:
        raise NotCompiled(f"undeclared reference to '{name}' (in container '')")


def _short(text: str) -> StringType:
    if len(text) > _LONGEST:
        raise ValueError(f"a text of more than {_LONGEST} characters")
    return StringType(text)


def _texts(*values: Any) -> None:
    # The library returns the sum of two strings as a plain str.
    if not all(isinstance(value, str) for value in values):
        raise TypeError("found no matching overload: a text is asked for")


def _numbers(*values: Any) -> None:
    if not all(isinstance(value, IntType) for value in values):
        raise TypeError("found no matching overload: a whole number is asked for")


def _extract(text: Any, template: Any) -> StringType:
    """Return the part of the text at the template's placeholder in braces; "" if the template does not match."""
    _texts(text, template)
    places = _PLACE.findall(template)
    if len(places) != 1:
        raise ValueError("a template has one place in braces")
    before, after = template.split(places[0])
    start = text.find(before)
    if start < 0:
        return StringType("")
    start += len(before)
    end = text.find(after, start) if after else len(text)
    return StringType(text[start:end] if end >= 0 else "")


def _split(text: Any, separator: Any, limit: Any = IntType(-1)) -> ListType:  # noqa: B008 - it never changes
    _texts(text, separator)
    _numbers(limit)
    if limit == 0:
        return ListType([])
    if separator:
        parts = text.split(separator, -1 if limit < 0 else limit - 1)
    else:
        whole = len(text) if limit < 0 else min(limit - 1, len(text))
        parts = [*text[:whole], *([text[whole:]] if text[whole:] else [])]
    return ListType([StringType(part) for part in parts])


def _join(parts: Any, separator: Any = StringType("")) -> StringType:  # noqa: B008 - it never changes
    if not isinstance(parts, ListType):
        raise TypeError("found no matching overload: a list is asked for")
    texts: list[Any] = list(parts)
    _texts(separator, *texts)
    if sum(len(text) + len(separator) for text in texts) > 2 * _LONGEST:
        raise ValueError(f"a text of more than {_LONGEST} characters")
    return _short(separator.join(texts))


def _replace(text: Any, old: Any, new: Any, limit: Any = IntType(-1)) -> StringType:  # noqa: B008 - it never changes
    _texts(text, old, new)
    _numbers(limit)
    if (text.count(old) if limit < 0 else min(limit, text.count(old))) * len(new) > _LONGEST:
        raise ValueError(f"a text of more than {_LONGEST} characters")
    return _short(text.replace(old, new, limit))


def _substring(text: Any, start: Any, end: Any = None) -> StringType:
    _texts(text)
    stop = IntType(len(text)) if end is None else end
    _numbers(start, stop)
    if not 0 <= start <= stop <= len(text):
        raise ValueError("index out of range")
    return StringType(text[int(start) : int(stop)])


def _char_at(text: Any, place: Any) -> StringType:
    _texts(text)
    _numbers(place)
    if not 0 <= place <= len(text):
        raise ValueError("index out of range")
    return StringType(text[int(place) : int(place) + 1])


def _index_of(text: Any, searched: Any, start: Any = IntType(0)) -> IntType:  # noqa: B008 - it never changes
    _texts(text, searched)
    _numbers(start)
    return IntType(text.find(searched, int(start)))


def _last_index_of(text: Any, searched: Any) -> IntType:
    _texts(text, searched)
    return IntType(text.rfind(searched))


def _ascii(change: Callable[[str], str]) -> Callable[[Any], StringType]:
    def changed(text: Any) -> StringType:
        _texts(text)
        return StringType("".join(change(one) if one.isascii() else one for one in text))

    return changed


def _trim(text: Any) -> StringType:
    _texts(text)
    return StringType(text.strip())


def _matches(text: Any, pattern: Any) -> BoolType:
    _texts(text, pattern)
    # cel-python's own function lets RE2 write its errors to standard error.
    options = re2.Options()
    options.log_errors = False
    try:
        return BoolType(re2.compile(pattern, options=options).search(text) is not None)
    except re2.error:
        raise ValueError("a pattern that RE2 refuses") from None


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "charAt": _char_at,
    "extract": _extract,
    "indexOf": _index_of,
    "join": _join,
    "lastIndexOf": _last_index_of,
    "lowerAscii": _ascii(str.lower),
    "matches": _matches,
    "replace": _replace,
    "split": _split,
    "substring": _substring,
    "trim": _trim,
    "upperAscii": _ascii(str.upper),
}
_METHODS = frozenset(_FUNCTIONS) | {
    "contains",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "size",
    "startsWith",
}
