"""A JSON Schema from the reference against the JSON in the response.

What counts as right: the JSON that is found is valid under the schema. What is ignored: the text around it.
What is not attempted: repairing JSON, fetching anything, asserting formats. The manifest's description has
the rules in full.

Validation is jsonschema's, pinned in the lock. Four things in it are replaced, because here both sides can be
hostile: patterns run under RE2 (`_LinearRegex`), and `uniqueItems`, `unevaluatedItems` and
`unevaluatedProperties` use sets where it compares pairs; `multipleOf` is exact, and `additionalProperties`
reports in a fixed order. Its registry gets no way to retrieve a document. What could recurse without end is
refused when the schema is read, so that the depth of the calls is bounded by MAX_DEPTH times MAX_CHAIN
whatever the response is.

What differs from 1.0.1: a fence opens a block whatever its info string says ("c#", "python title=x", "json {1}"). 1.0.1
did not see such a fence, took the one that closes it for one that opens, and found no JSON in what followed.

`reduce` is sound because `verify` is nothing but `_judge` of its three values: the text that `_found` takes
from the response (or its refusal), the reference, and the draft. Everything else of the response never
reaches `_judge`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import jsonschema
import jsonschema._keywords
import jsonschema._legacy_keywords
import jsonschema._utils
import re2  # type: ignore[import-not-found]  # pinned in requirements.lock, not in the service's environment
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

MAX_DEPTH = 64
"""Nesting of a response's JSON and of a schema."""

MAX_VALUES = 10_000
"""Values (members and elements) of a response's JSON and of a schema."""

MAX_DIGITS = 1_000
"""Digits of one number."""

MAX_CHAIN = 16
"""References and combinators that a schema may put in a row without going into the instance."""

MAX_ERRORS = 5
MAX_SHOWN = 200
"""Characters of a message that a verdict's detail repeats."""

RECURSION = 10_000
"""Python frames that validation may use: about three for each of MAX_DEPTH times MAX_CHAIN steps, and
reserve."""

DRAFTS: dict[str, tuple[str, Any]] = {
    "4": ("http://json-schema.org/draft-04/schema", jsonschema.Draft4Validator),
    "6": ("http://json-schema.org/draft-06/schema", jsonschema.Draft6Validator),
    "7": ("http://json-schema.org/draft-07/schema", jsonschema.Draft7Validator),
    "2019-09": ("https://json-schema.org/draft/2019-09/schema", jsonschema.Draft201909Validator),
    "2020-12": ("https://json-schema.org/draft/2020-12/schema", jsonschema.Draft202012Validator),
}


class RefusedError(Exception):
    """The JSON or the schema cannot be used; `code` is stable, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def detail(self) -> dict[str, Any]:
        """Return what a verdict says about it."""
        return {"code": self.code, "message": _shown(str(self))}


# ---- the verdict


def verify(item: dict[str, Any]) -> dict[str, Any]:
    """Score 1 when the response's JSON is valid under the reference's schema, else 0.

    Args:
        item: `response` (str), `reference` (schema, or text of one), `params` as the manifest declares them.

    Returns:
        The verdict; `detail["errors"]` has the first errors as `path`, `keyword` and `message`.
    """
    params = item.get("params") or {}
    return _judge(_found(item["response"], params.get("extract", "auto")), item["reference"], _draft(params))


def reduce(item: dict[str, Any]) -> Any:
    """Return what the verdict depends on: the JSON text (or why there is none), reference and draft."""
    params = item.get("params") or {}
    found = _found(item["response"], params.get("extract", "auto"))
    text = {"refused": [found.code, str(found)]} if isinstance(found, RefusedError) else {"json": found}
    return [text, item["reference"], _draft(params)]


def _draft(params: dict[str, Any]) -> str:
    draft: str = params.get("draft", "2020-12")
    return draft


def _judge(found: str | RefusedError, reference: Any, draft: str) -> dict[str, Any]:
    try:
        validator = _schema(reference, draft)
    except RefusedError as problem:
        return {"outcome": "bad_reference", "score": None, "detail": problem.detail()}
    try:
        value = _parsed(_text(found))
    except RefusedError as problem:
        return {"outcome": "no_answer", "score": 0.0, "detail": problem.detail()}
    with _Recursion():
        errors = list(islice(validator.iter_errors(value), MAX_ERRORS))
    detail = {"errors": [_error(error) for error in errors]} if errors else {}
    return {"outcome": "scored", "score": 0.0 if errors else 1.0, "detail": detail}


def _text(found: str | RefusedError) -> str:
    if isinstance(found, RefusedError):
        raise found
    return found


def _error(error: ValidationError) -> dict[str, str]:
    path = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)
    return {
        "path": path[:MAX_SHOWN],
        "keyword": str(error.validator or "false"),
        "message": _shown(error.message),
    }


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


class _Recursion:
    """Raises the recursion limit to `RECURSION` and puts it back."""

    def __enter__(self) -> None:
        self.before = sys.getrecursionlimit()
        sys.setrecursionlimit(RECURSION)

    def __exit__(self, *_: object) -> None:
        sys.setrecursionlimit(self.before)


# ---- finding the JSON

_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}+|~{3,}+)([^\n]*)$", re.MULTILINE)
_LANGUAGE = re.compile(r"[^\s:,;{}=]*")
_FLAT = re.compile(r'\{[^][{}"]*+\}')
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)


def _found(response: str, how: str) -> str | RefusedError:
    """Return the text in which the JSON stands, or why there is none."""
    whole = response.strip(" \t\r\n")
    if how == "whole":
        return whole
    if how == "auto":
        try:
            _parsed(whole)
        except RefusedError:
            pass
        else:
            return whole
    fenced = _last_fenced(response) if how in ("auto", "fenced") else None
    if fenced is not None:
        return fenced
    if how == "fenced":
        return RefusedError("no_fence", "the response has no closed fenced block of JSON")
    return _last_object(response)


def _last_fenced(response: str) -> str | None:
    """Return the content of the last closed block of JSON that is not blank.

    As CommonMark has it: any info string opens a block, but for one with a backtick behind backticks, and a fence
    without one closes it.
    """
    content, opening = None, None
    for fence in _FENCE.finditer(response):
        info = fence[2].strip(" \t\r")
        if opening is None:
            if not (fence[1][0] == "`" and "`" in info):
                opening = fence
        elif fence[1].startswith(opening[1]) and not info:
            inside = response[opening.end() : fence.start()].strip(" \t\r\n")
            if inside and _is_json(opening[2].strip(" \t\r")):
                content = inside
            opening = None
    return content


def _is_json(info: str) -> bool:
    """Tell whether an info string names JSON, or nothing at all."""
    language = _LANGUAGE.match(info)
    return not info or (language is not None and language[0].lower() == "json")


def _last_object(response: str) -> str | RefusedError:
    """Return the outermost ``{...}`` that is closed last. Quotes count inside braces only."""
    start, end, at = -1, -1, response.find("{")
    while at >= 0:
        close = _closing(response, at)
        if close < 0:
            return RefusedError(
                "cut_off", "the last object of the response is not closed, or nested too deep"
            )
        start, end = at, close
        at = response.find("{", close)
    return response[start:end] if start >= 0 else RefusedError("no_json", "the response has no JSON object")


def _closing(text: str, at: int) -> int:
    """Return the place behind the brace that closes the one at `at`, or -1."""
    if flat := _FLAT.match(text, at):  # spares a million tiny objects the loop below
        return flat.end()
    open_brackets: list[str] = []
    for token in _TOKEN.finditer(text, at):
        bracket = token.group()
        if bracket in "{[":
            open_brackets.append(bracket)
            if len(open_brackets) > MAX_DEPTH + 1:
                return -1
        elif bracket == "}":
            while open_brackets.pop() != "{":
                pass
            if not open_brackets:
                return token.end()
        elif bracket == "]" and open_brackets[-1] == "[":
            open_brackets.pop()
    return -1


# ---- strict JSON


def _parsed(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        RefusedError: It is no strict JSON, or too deep or too large.
    """
    _measure(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_members, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise RefusedError("not_json", f"{error.msg} at character {error.pos}") from None
    _check(value)
    return value


def _measure(text: str) -> None:
    """Refuse what is too deep or too large before a parser sees it."""
    depth = values = 0
    for token in _TOKEN.finditer(text):
        bracket = token.group()
        if bracket in "{[":
            depth, values = depth + 1, values + 1
        elif bracket in "]}":
            depth -= 1
        elif bracket == ",":
            values += 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            raise _too_large()


def _too_large() -> RefusedError:
    return RefusedError(
        "too_large", f"JSON nested deeper than {MAX_DEPTH} or of over {MAX_VALUES} values is not read"
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RefusedError("duplicate_key", f"the key {ascii(twice)[:80]} stands twice in one object")
    return members


def _constant(name: str) -> Any:
    raise RefusedError("not_json", f"{name} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise RefusedError("number_out_of_range", f"a number of over {MAX_DIGITS} digits is not read")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_DIGITS else math.inf
    vanished = value == 0 and re.match(r"-?[0.]*[1-9]", digits)
    if math.isinf(value) or vanished:
        raise RefusedError("number_out_of_range", "a number beyond the range of a double is not read")
    return value


def _check(value: Any) -> None:
    """Refuse what strict JSON cannot hold, in a value of any origin; without recursion, as it may be deep."""
    values = 0
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        values += 1
        if depth > MAX_DEPTH or values > 2 * MAX_VALUES:
            raise _too_large()
        if isinstance(one, dict):
            todo += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list):
            todo += [(part, depth + 1) for part in one]
        elif isinstance(one, str):
            if not one.isascii() and re.search("[\ud800-\udfff]", one):
                raise RefusedError("lone_surrogate", "a text has a lone surrogate, which is no character")
        elif isinstance(one, float):
            if not math.isfinite(one):
                raise RefusedError("not_json", "NaN and infinities are no JSON numbers")
        elif isinstance(one, int) and one.bit_length() > 4 * MAX_DIGITS:
            raise RefusedError("number_out_of_range", f"a number of over {MAX_DIGITS} digits is not read")


# ---- the schema


def _schema(reference: Any, draft: str) -> Any:
    """Return a validator for the reference.

    Raises:
        RefusedError: It is no schema, or one that this verifier does not use.
    """
    schema = reference
    if isinstance(reference, str):
        schema = _parsed(reference)
    else:
        _check(schema)
    if not isinstance(schema, dict | bool):
        raise RefusedError("not_a_schema", "a schema is an object or a boolean, or the text of one")
    # Sorted, so that the order of the errors does not depend on the order of the keys.
    validator = _compiled(json.dumps(schema, sort_keys=True), draft)
    if isinstance(validator, RefusedError):
        raise RefusedError(validator.code, str(validator))
    return validator


@lru_cache(maxsize=64)
def _compiled(text: str, draft: str) -> Any:
    """Return a validator for a schema's text, or why it is refused; kept, as items share schemas."""
    schema = _arrays_first(json.loads(text))
    try:
        with _Recursion():
            return _validator(schema, draft)
    except RefusedError as problem:
        return problem


def _arrays_first(schema: Any) -> Any:
    """Put arrays before schemas in every `dependencies`, whose first value the library takes for what all are."""
    for part in _parts(schema):
        if isinstance(part, dict) and isinstance(dependencies := part.get("dependencies"), dict):
            part["dependencies"] = dict(
                sorted(dependencies.items(), key=lambda pair: not isinstance(pair[1], list))
            )
    return schema


def _validator(schema: Any, draft: str) -> Any:
    own = {id(part) for part in _parts(schema)}
    if isinstance(schema, dict) and "$schema" in schema:
        draft = _named_draft(schema["$schema"])
        # The library would go back to its own class, without our keywords, wherever it meets this key.
        schema = {key: value for key, value in schema.items() if key != "$schema"}
        own.add(id(schema))
    _check_schema(schema, draft)
    validator = _CLASSES[draft](schema, registry=Registry())
    _Walk(schema, draft, own).run()
    return validator


def _check_schema(schema: Any, draft: str) -> None:
    try:
        _CLASSES[draft].check_schema(schema, format_checker=None)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise RefusedError(
            "bad_schema", f"the schema breaks its metaschema at /{where}: {error.message}"
        ) from None


def _parts(value: Any) -> Iterator[Any]:
    """Yield every object and array in a value."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict | list):
            yield one
            todo += one.values() if isinstance(one, dict) else one


def _named_draft(name: Any) -> str:
    for draft, (uri, _) in DRAFTS.items():
        if isinstance(name, str) and name.removesuffix("#") == uri:
            return draft
    raise RefusedError(
        "unknown_draft", f"$schema must name draft 4, 6, 7, 2019-09 or 2020-12, not {ascii(name)[:80]}"
    )


class _Node(NamedTuple):
    """One subschema, with the subschemas that apply to the same instance."""

    schema: dict[str, Any]
    in_place: list[int]


class _Walk:
    """Visits every subschema that validation can reach; checks references, patterns and circles."""

    def __init__(self, schema: Any, draft: str, own: set[int]) -> None:
        specification = specification_with(DRAFTS[draft][0])
        root = specification.create_resource(schema)
        registry = REGISTRY.combine(Registry())
        self.specification, self.draft, self.own = specification, draft, own
        self.known = _CLASSES[draft].VALIDATORS.keys()
        self.todo = [(schema, registry.resolver_with_root(root))]
        self.nodes: dict[int, _Node] = {}

    def run(self) -> None:
        """Visit everything, then look for circles and long chains."""
        while self.todo:
            schema, resolver = self.todo.pop()
            if isinstance(schema, dict) and id(schema) not in self.nodes:
                try:
                    self._visit(schema, resolver)
                except ValueError as error:  # from the URI parser
                    raise RefusedError(
                        "bad_id", f"the schema has an identifier that is no URI: {error}"
                    ) from None
        self._join_dynamic()
        heights: dict[int, int] = {}
        for start in self.nodes:
            if self._height(start, heights, 0) > MAX_CHAIN:
                raise _endless()

    def _join_dynamic(self) -> None:
        """Let every dynamic reference lead to every place that it could lead to under some outer schema."""
        anchors: dict[str, list[int]] = {}
        for node, (schema, _) in self.nodes.items():
            if isinstance(schema.get("$dynamicAnchor"), str):
                anchors.setdefault(schema["$dynamicAnchor"], []).append(node)
            if schema.get("$recursiveAnchor") is True:
                anchors.setdefault("", []).append(node)
        for schema, in_place in self.nodes.values():
            if isinstance(schema.get("$dynamicRef"), str):
                in_place += anchors.get(schema["$dynamicRef"].rpartition("#")[2], [])
            if "$recursiveRef" in schema:
                in_place += anchors.get("", [])

    def _visit(self, schema: dict[str, Any], resolver: Any) -> None:
        if id(schema) in self.own and "$schema" in schema and _named_draft(schema["$schema"]) != self.draft:
            raise RefusedError("mixed_drafts", "a subschema names another draft than the root")
        for pattern in (schema.get("pattern"), *_keys(schema.get("patternProperties"))):
            if isinstance(pattern, str):
                _linear(pattern)
        if isinstance(schema.get("patternProperties"), dict):
            _linear("|".join(schema["patternProperties"]))  # what additionalProperties looks for
        in_place = [id(part) for part in _in_place(schema, self.known)]
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                target, there = self._target(schema[keyword], resolver)
                if id(target) in self.own:  # the drafts' own metaschemas neither circle nor need a visit
                    in_place.append(id(target))
                    self.todo.append((target, there))
        self.nodes[id(schema)] = _Node(schema, in_place)
        for part in self.specification.subresources_of(schema):
            here = resolver.in_subresource(self.specification.create_resource(part))
            self.todo.append((part, here))
        for part in _in_place(schema, self.known):
            self.todo.append((part, resolver.in_subresource(self.specification.create_resource(part))))

    def _target(self, ref: Any, resolver: Any) -> tuple[Any, Any]:
        if not isinstance(ref, str):
            raise RefusedError("bad_ref", f"a $ref must be text, not {type(ref).__name__}")
        try:
            resolved = resolver.lookup(ref)
        except (Unresolvable, ValueError, TypeError, KeyError, IndexError):
            message = f"the reference {ascii(ref)[:80]} leads nowhere in this schema, and nothing is fetched"
            raise RefusedError("unresolvable_ref", message) from None
        if not isinstance(resolved.contents, dict | bool):
            raise RefusedError(
                "bad_ref", f"the reference {ascii(ref)[:80]} leads to something that is no schema"
            )
        if id(resolved.contents) in self.own:
            _check_schema(resolved.contents, self.draft)  # it may lie where the metaschema did not look
        return resolved.contents, resolved.resolver

    def _height(self, node: int, heights: dict[int, int], depth: int) -> int:
        """Return how many steps in a row `node` can apply to one instance."""
        if depth > MAX_CHAIN:
            raise _endless()
        if node not in self.nodes:
            return 0
        if node not in heights:
            heights[node] = 1 + max(
                (self._height(part, heights, depth + 1) for part in self.nodes[node].in_place), default=0
            )
        return heights[node]


def _endless() -> RefusedError:
    return RefusedError(
        "endless_ref", f"over {MAX_CHAIN} references or combinators in a row, or a circle of them"
    )


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _in_place(schema: dict[str, Any], known: Collection[str]) -> list[Any]:
    """Return the subschemas that apply to the same instance, under the keywords of a draft."""
    parts = [schema.get(key) for key in ("not", "if") if key in known]
    parts += [schema.get(key) for key in ("then", "else") if "if" in known]
    for key in ("allOf", "anyOf", "oneOf"):
        parts += schema.get(key, [])
    for key in ("dependentSchemas", "dependencies"):
        parts += schema.get(key, {}).values() if key in known else []
    return [part for part in parts if isinstance(part, dict)]


# ---- patterns under RE2

_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|(.))", re.DOTALL)


@lru_cache(maxsize=512)
def _linear(pattern: str) -> Any:
    """Return a pattern of ECMA-262's dialect compiled by RE2.

    Raises:
        RefusedError: RE2 cannot match it in linear time, or it has flags in the text, which ECMA-262 does not
        know.
    """
    if re.search(r"\(\?[a-zA-Z-]+\)", pattern):
        raise RefusedError(
            "bad_pattern", f"the pattern {ascii(pattern)[:80]} sets flags, which JSON Schema does not know"
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 16 << 20
    try:
        return re2.compile(_ESCAPE.sub(_escape, pattern), options)
    except re2.error as error:
        message = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise RefusedError(
            "bad_pattern", f"RE2 refuses the pattern {ascii(pattern)[:80]}: {message}"
        ) from None


def _escape(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return f"\\x{{{code}}}" if code else found[0]


class _LinearRegex:
    """Stands in for the module `re` inside jsonschema, which uses nothing of it but `search`."""

    @staticmethod
    def search(pattern: str, string: str) -> Any:
        """Return RE2's match of `pattern` in `string`, or None."""
        return _linear(pattern).search(string)


for _module in (jsonschema._keywords, jsonschema._legacy_keywords, jsonschema._utils):
    _module.re = _LinearRegex  # type: ignore[attr-defined]


# ---- keywords of our own

Errors = Iterator[ValidationError]


def _multiple_of(validator: Any, divisor: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "number") and _exact(instance) % _exact(divisor) != 0:
        yield ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def _exact(number: float) -> Fraction:
    """Return a JSON number as the decimal that it is written as."""
    return Fraction(number) if isinstance(number, int) else Fraction(Decimal(repr(number)))


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Errors:
    if wanted and validator.is_type(instance, "array"):
        seen = {_frozen(element) for element in instance}
        if len(seen) < len(instance):
            yield ValidationError("the array has elements that are equal")


def _frozen(value: Any) -> Any:
    """Return something hashable, equal where JSON values are: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, _frozen(member)) for key, member in value.items())
    if isinstance(value, list):
        return "array", tuple(_frozen(element) for element in value)
    return (type(value).__name__ if isinstance(value, bool | str) else "number", value)


def _unevaluated_items(validator: Any, subschema: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "array"):
        done = set(jsonschema._utils.find_evaluated_item_indexes_by_schema(validator, instance, schema))
        left = [index for index in range(len(instance)) if index not in done]
        if left:
            yield ValidationError(f"the element {left[0]} is not evaluated by any part of the schema")


def _unevaluated_properties(validator: Any, subschema: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "object"):
        done = set(jsonschema._utils.find_evaluated_property_keys_by_schema(validator, instance, schema))
        left = sorted(instance.keys() - done)
        if left:
            yield ValidationError(f"the property {left[0]!a} is not evaluated by any part of the schema")


def _additional_properties(validator: Any, subschema: Any, instance: Any, schema: Any) -> Errors:
    if not validator.is_type(instance, "object"):
        return
    extras = sorted(jsonschema._utils.find_additional_properties(instance, schema))
    if validator.is_type(subschema, "object"):
        for extra in extras:
            yield from validator.descend(instance[extra], subschema, path=extra)
    elif subschema is False and extras:
        yield ValidationError(f"the property {extras[0]!a} is not among those that the schema allows")


_Keyword = Callable[[Any, Any, Any, Any], Errors]


def _class(draft: str, base: Any) -> Any:
    keywords: dict[str, _Keyword] = {
        "multipleOf": _multiple_of,
        "uniqueItems": _unique_items,
        "additionalProperties": _additional_properties,
    }
    if draft == "2020-12":
        keywords |= {"unevaluatedItems": _unevaluated_items, "unevaluatedProperties": _unevaluated_properties}
    return jsonschema.validators.extend(base, keywords)  # type: ignore[no-untyped-call]


_CLASSES = {draft: _class(draft, base) for draft, (_, base) in DRAFTS.items()}
