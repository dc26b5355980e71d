"""`countermark release init`: a card, from answers and from files that say parts of it."""

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import CountermarkError

if TYPE_CHECKING:
    from countermark_service.registry import Registry
    from countermark_service.releases.drafts import Draft

_SHOWN = 60


def init(
    from_: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="A file that says parts of it: a configuration or launch script of verl, TRL or OpenRLHF, or the "
            "README of a data set or model. May be given many times; earlier ones win.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the release, `[namespace/]name`.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the release.")] = None,
    verifier: Annotated[
        list[str] | None, typer.Option(help="A route, as `TASK=name:version`. May be given many times.")
    ] = None,
    on_failure: Annotated[
        str | None, typer.Option(help="For the routes of --verifier: null, zero or raise.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the card.")] = Path("countermark.json"),
    ask: Annotated[
        bool | None,
        typer.Option(
            "--ask/--no-ask", help="Ask for what is missing [default: on a terminal].", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a release card: fill what files say, ask for the rest, and say what is still missing.

    Example: `countermark release init --from run.sh --name my/release --version 1.0 --no-ask`

    Verifiers become pins at once where they are here. Nothing is invented: what the files leave open is said.
    """
    from countermark_service.assembly import build_registry
    from countermark_service.cli.console import note
    from countermark_service.cli.release.card_file import card_bytes, write_file
    from countermark_service.releases import CardError, grade_card, release_of
    from countermark_service.releases.drafts import read_draft_file

    if out.exists() and not force:
        raise CardError(str(out), "", "is there already; --force replaces it, --out names another")
    asks = sys.stdin.isatty() if ask is None else ask
    registry = build_registry(command_settings(data))
    drafts = [read_draft_file(file) for file in from_ or []]
    document: dict[str, Any] = {"schema_version": 1, "name": name, "version": version}
    for draft in drafts:
        _fill(document, draft.document)
    for route in _routes(verifier or [], on_failure):
        document.setdefault("verifier", {}).setdefault("routes", []).append(route)
    if asks:
        _ask_for_rest(document, registry)
    for key in ("name", "version"):
        if not document[key]:
            raise CardError("the command line", key, f"is missing: give --{key}, or answer the question")
    release_of(document, file="what was given")
    unclear = [
        f"{file}: {each}" for file, draft in zip(from_ or [], drafts, strict=True) for each in draft.unclear
    ]
    for place, route in enumerate(document.get("verifier", {}).get("routes", [])):
        try:
            route["verifier"] = str(registry.resolve(route["verifier"]).ref)
        except CountermarkError as exc:
            unclear.append(f"verifier.routes[{place}].verifier stays without digest: {exc}")
    release = release_of(_in_order(document), file="what was given")
    write_file(out, card_bytes(release.document), force=force)
    if as_json:
        _print_json(out, release.digest, from_ or [], drafts, unclear, grade_card(release.card).document())
        return
    _print(out, from_ or [], drafts, unclear, release.card)
    note(f"wrote {out}; next: countermark release check {quote(str(out))}")


def _fill(document: dict[str, Any], more: dict[str, Any]) -> None:
    """Put in what is not said yet."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _fill(document[key], value)
        elif document.get(key) is None:
            document[key] = value


def _routes(given: list[str], on_failure: str | None) -> list[dict[str, str]]:
    routes = []
    for one in given:
        task, equals, ref = one.partition("=")
        if not equals or not task or not ref:
            raise typer.BadParameter(f"{one!r} must be TASK=name:version", param_hint="--verifier")
        routes.append({"task": task, "verifier": ref, **({"on_failure": on_failure} if on_failure else {})})
    return routes


def _ask_for_rest(document: dict[str, Any], registry: "Registry") -> None:
    from countermark_service.cli.console import note
    from countermark_service.cli.release.questions import ask_for_gaps

    def question(text: str) -> str:
        return str(typer.prompt(text, default="", show_default=False, err=True)).strip()

    def tried(ref: str) -> str:
        try:
            return str(registry.resolve(ref).ref)
        except CountermarkError as exc:
            raise ValueError(str(exc)) from exc

    for key, text in (("name", "Name of the release, such as my-lab/sums"), ("version", "Version")):
        while not document[key]:
            answer = question(text)
            if answer and _fits(document, key, answer, note):
                document[key] = answer
    if not document.get("summary"):
        summary = question("One sentence on what it is")
        if summary:
            document["summary"] = summary
    ask_for_gaps(document, question, note, tried)


def _fits(document: dict[str, Any], key: str, answer: str, say: Any) -> bool:
    from countermark_service.releases import CardError, release_of

    try:
        release_of({"schema_version": 1, "name": "a", "version": "1", key: answer})
    except CardError as exc:
        say(f"  {exc.problem}")
        return False
    return True


def _in_order(document: dict[str, Any]) -> dict[str, Any]:
    """Return the card with its fields in the order of the schema, as people read it."""
    from countermark_service.releases import ReleaseCard

    return {key: document[key] for key in ReleaseCard.model_fields if document.get(key) is not None}


def _print(out: Path, files: list[Path], drafts: "list[Draft]", unclear: list[str], card: Any) -> None:
    from countermark_service.cli.console import show, table
    from countermark_service.cli.release.grades import grade_parts
    from countermark_service.releases import grade_card

    parts: list[Any] = []
    for file, draft in zip(files, drafts, strict=True):
        rows = table("field", f"from {file} ({draft.kind})")
        for field, key in list(draft.taken.items())[:_SHOWN]:
            rows.add_row(field, key)
        parts += [rows, ""]
    if unclear:
        parts += ["not clear from what was given:", *(f"  - {one}" for one in unclear), ""]
    show(*parts, *grade_parts(grade_card(card)))


def _print_json(
    out: Path,
    digest: str,
    files: list[Path],
    drafts: "list[Draft]",
    unclear: list[str],
    completeness: dict[str, Any],
) -> None:
    from countermark_service.cli.console import print_json

    print_json(
        {
            "card": str(out),
            "digest": digest,
            "from": [
                {"file": str(file), "kind": draft.kind, "taken": draft.taken}
                for file, draft in zip(files, drafts, strict=True)
            ],
            "unclear": unclear,
            "completeness": completeness,
        }
    )
