"""What `countermark release init` asks, in the order of the factors, and what an answer becomes.

Only the essential things are asked for, each with its reason. An empty answer skips
the question; a wrong one is said and asked again; `n/a` at the first question of a
factor that a release may lack asks why, and the factor is done.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark_service.kept import read_small
from countermark_service.releases import FACTORS, CardError, grade_card, release_of

Ask = Callable[[str], str]
"""Puts a question and returns the answer, "" for none."""
Say = Callable[[str], None]

_OPTIONAL = frozenset({"base_model", "data", "optimizer", "scaffold", "inference"})
_NOT_APPLICABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask for."""

    rule: str
    """The rule of completeness that an answer satisfies, by its field; a question is put where it does not hold."""
    place: str
    """Where the answer goes."""
    text: str
    read: Callable[[str], Any] = str
    """Makes a value of an answer; raises ValueError for one that is none."""


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.replace(",", " ").split()]


def _text(answer: str) -> str:
    """Return a text, or the content of the file that ``@FILE`` names; ``none`` is the empty text."""
    if answer == "none":
        return ""
    if answer.startswith("@"):
        try:
            return read_small(Path(answer[1:])).decode()
        except (OSError, UnicodeDecodeError) as exc:
            raise ValueError(f"{answer[1:]} cannot be read: {exc}") from exc
    return answer.replace("\\n", "\n")


def _method(text: str) -> dict[str, str]:
    return {"method": text}


QUESTIONS: tuple[Question, ...] = (
    Question("base_model.id", "base_model.id", "Base model, such as Qwen/Qwen2.5-7B"),
    Question("base_model.revision", "base_model.revision", "Its revision (commit)"),
    Question(
        "data.decontamination",
        "data.decontamination",
        "What was done against contamination (`none` counts)",
        _method,
    ),
    Question("optimizer.algorithm", "optimizer.algorithm", "Algorithm, such as grpo"),
    Question("optimizer.library", "optimizer.library", "Library, such as verl"),
    Question("optimizer.library_version", "optimizer.library_version", "Version or commit of the library"),
    Question("optimizer.seeds", "optimizer.seeds", "Seeds of the runs", _numbers),
    Question("scaffold.prompt_template", "scaffold.prompt_template", "Prompt template, or @FILE", _text),
    Question("scaffold.system_prompt", "scaffold.system_prompt", "System prompt, or @FILE, or `none`", _text),
    Question("inference.samples", "inference.samples", "Samples for one prompt", int),
    Question("inference.max_tokens", "inference.max_tokens", "Tokens of one answer, at most", int),
    Question("inference.temperature", "inference.temperature", "Temperature", float),
)


def ask_for_gaps(document: dict[str, Any], ask: Ask, say: Say, tried: Callable[[str], str]) -> None:
    """Ask for everything essential that a card's document does not say, and put the answers in.

    Args:
        document: The card; it is changed.
        ask: Puts a question.
        say: Says something to who answers.
        tried: Returns the pin of a reference, or raises ValueError with why there is none.
    """
    _ask_for_routes(document, ask, say, tried)
    for factor in FACTORS:
        if factor == "verifier" or "not_applicable" in document.get(factor, {}):
            continue
        if factor == "data" and _ask_for_sources(document, ask, say):
            continue
        asked = [one for one in QUESTIONS if one.place.startswith(f"{factor}.")]
        first = not document.get(factor)
        for question, why in _open(document, asked):
            done = _put(document, question, why, ask, say, may_lack=first and factor in _OPTIONAL)
            if done:
                break
            first = False


def _open(document: Mapping[str, Any], asked: list[Question]) -> Iterator[tuple[Question, str]]:
    """Yield the questions whose rule does not hold, as it is by then."""
    for question in asked:
        found = grade_card(release_of(document).card)
        for grade in found.factors:
            for rule in grade.missing:
                if rule.field == question.rule:
                    yield question, rule.why


def _put(
    document: dict[str, Any], question: Question, why: str, ask: Ask, say: Say, *, may_lack: bool
) -> bool:
    """Ask until the answer fits or is empty; return whether the factor is done with."""
    factor, key = question.place.split(".")
    say(f"  {why}")
    while True:
        answer = ask(question.text + (" (n/a: the release has none)" if may_lack else ""))
        if not answer:
            return False
        if may_lack and answer == _NOT_APPLICABLE:
            document[factor] = {"not_applicable": ask("Why not") or "not said"}
            return True
        try:
            changed = {**document.get(factor, {}), key: question.read(answer)}
            release_of({**document, factor: changed})
        except (ValueError, CardError) as exc:
            say(f"  {exc.problem if isinstance(exc, CardError) else exc}")
            continue
        document[factor] = changed
        return False


def _ask_for_routes(document: dict[str, Any], ask: Ask, say: Say, tried: Callable[[str], str]) -> None:
    routes = document.setdefault("verifier", {}).setdefault("routes", [])
    if not routes:
        say("  Which verifier decides the rewards, task by task? An empty name ends the list.")
        while task := ask("Next task" if routes else "Task"):
            if any(route["task"] == task for route in routes):
                say(f"  {task!r} has its route")
            elif verifier := _pin(ask, say, tried):
                routes.append({"task": task, "verifier": verifier})
    for route in routes:
        if route.get("on_failure") is None:
            _ask_for_failures(route, ask, say)
    if not routes:
        del document["verifier"]


def _pin(ask: Ask, say: Say, tried: Callable[[str], str]) -> str:
    while True:
        answer = ask("  Verifier, such as math-verify:0.9.0-r2")
        if not answer:
            return ""
        try:
            return tried(answer)
        except ValueError as exc:
            say(f"  {exc}")


def _ask_for_failures(route: dict[str, Any], ask: Ask, say: Say) -> None:
    while True:
        answer = ask(
            f"  What is the reward of {route['task']!r} where there is no score: null, zero or raise"
        )
        if answer in ("null", "zero", "raise"):
            route["on_failure"] = answer
        elif answer:
            say("  one of null, zero, raise")
            continue
        return


def _ask_for_sources(document: dict[str, Any], ask: Ask, say: Say) -> bool:
    """Ask for sources and their revisions; return whether the release has no data."""
    data = document.setdefault("data", {})
    sources = data.setdefault("sources", [])
    if not sources:
        say("  Without its sources nobody can build the data again. An empty name ends the list.")
        while True:
            name = ask(
                "Data source, such as openai/gsm8k" + (" (n/a: the release has none)" if not sources else "")
            )
            if name == _NOT_APPLICABLE and not sources:
                document["data"] = {"not_applicable": ask("Why not") or "not said"}
                return True
            if not name:
                break
            sources.append({"id": name})
    for source in sources:
        if source.get("revision") is None:
            revision = ask(f"  Revision of {source['id']}")
            if revision:
                source["revision"] = revision
    if not sources:
        del data["sources"]
    if not data:
        del document["data"]
    return False
