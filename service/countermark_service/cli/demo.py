"""`countermark demo`: one sample, five versions of one library, and where they disagree.

It does what anybody would do by hand, with the real parts: build the environments,
start a service on the embedded store, score a file over HTTP under every version,
score it again, stop the service.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import JsonOption, command_settings
from countermark_service.errors import CountermarkError, UnknownVerifierError

if TYPE_CHECKING:
    import countermark
    from countermark_service.bundles import Bundle
    from countermark_service.cli.demo_report import Pass, SampleItem
    from countermark_service.registry import Registry

_NAME = "math-verify"
_SAMPLE = Path(__file__).resolve().parent.parent / "demo" / "sample.jsonl"
_FOLDER = Path(".countermark/demo")
_BATCH = 32


class DemoError(CountermarkError):
    """The demo cannot go on: its sample cannot be read, or the service did not do its part."""

    code = "demo_failed"


def demo(
    verifier: Annotated[
        list[str] | None,
        typer.Option(help="Verifier `name:version`, in place of math-verify's.", show_default=False),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            help="Another sample: lines of JSON with id, prompt, response, reference, right and shape.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder [default: COUNTERMARK_DATA, else .countermark/demo].", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where versions of one verifier disagree on the same responses.

    Example: `countermark demo`

    Scores the shipped sample over HTTP under every release of math-verify that is here (of `0.9.0` and
    `0.9.0-r2` the latter), twice: the second pass is answered from the store. Prints the verdicts per
    version, every item on which versions disagree, both passes and the pins. The first run builds
    environments, which takes a minute or two; the next ones take seconds. The exit code is 1 where
    anything failed.
    """
    import asyncio

    from countermark_service.assembly import build_environments, build_registry
    from countermark_service.cli.console import console, note, print_json, show
    from countermark_service.cli.demo_report import Report
    from countermark_service.cli.environments import build_and_show
    from countermark_service.cli.served import served

    started = time.perf_counter()
    settings = command_settings(data or (None if "COUNTERMARK_DATA" in os.environ else _FOLDER))
    items = _read_sample(sample or _SAMPLE)
    bundles = _bundles(build_registry(settings), verifier or [])
    built = build_and_show(build_environments(settings), [bundle for bundle in bundles if bundle.locks])
    if any(one.failure is not None for one in built):
        raise typer.Exit(1)
    with served(settings.data, {"COUNTERMARK_REDIS_URL": ""}) as url:
        note(f"scoring {len(items)} responses under {len(bundles)} verifiers at {url}")
        passes = asyncio.run(_score_twice(url, bundles, items))
    (first, first_seconds), (second, second_seconds) = passes
    report = Report(
        items=items,
        pins=[bundle.ref for bundle in bundles],
        first=first,
        second=second,
        pass_seconds=(first_seconds, second_seconds),
        seconds=time.perf_counter() - started,
    )
    if as_json:
        print_json(report.document())
    else:
        show(*report.parts(console().width))
    if report.faults:
        raise typer.Exit(1)


def _bundles(registry: "Registry", refs: Sequence[str]) -> "list[Bundle]":
    newest = {version.partition("-r")[0]: version for version in registry.versions(_NAME)}
    found = list(refs) or [f"{_NAME}:{version}" for version in newest.values()]
    if not found:
        raise UnknownVerifierError(_NAME, names=sorted({bundle.manifest.name for bundle in registry}))
    return [registry.resolve(ref) for ref in dict.fromkeys(found)]


def _read_sample(file: Path) -> "list[SampleItem]":
    import msgspec

    from countermark_service.cli.demo_report import SampleItem

    try:
        lines = file.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=SampleItem) for line in lines if line.strip()]
    except OSError as exc:
        raise DemoError(f"the sample {file} cannot be read: {exc.strerror}.") from exc
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise DemoError(f"the sample {file} has a line that is no item of a sample: {exc}.") from exc


async def _score_twice(
    url: str, bundles: "Sequence[Bundle]", items: "Sequence[SampleItem]"
) -> "list[tuple[list[Pass], float]]":
    """Score all items under all bundles, twice; per pass what came for each bundle, and its seconds."""
    import asyncio

    import countermark
    from countermark_service.cli.console import progress

    count = len(bundles) * len(items)
    passes = []
    try:
        async with countermark.AsyncClient(url) as client:
            for name in ("first pass", "second pass"):
                started = time.perf_counter()
                with progress() as bar:
                    task = bar.add_task(name, total=count)
                    jobs = [_score(client, bundle, items, partial(bar.advance, task)) for bundle in bundles]
                    passes.append((list(await asyncio.gather(*jobs)), time.perf_counter() - started))
    except countermark.CountermarkClientError as exc:
        raise DemoError(f"the service did not score the sample: {exc}") from exc
    return passes


async def _score(
    client: "countermark.AsyncClient",
    bundle: "Bundle",
    items: "Sequence[SampleItem]",
    advance: Callable[[int], None],
) -> "Pass":
    """Score all items under one bundle, some at a time, so that it can be watched."""
    from countermark_service.cli.demo_report import Pass

    verdicts: list[countermark.Verdict] = []
    for start in range(0, len(items), _BATCH):
        sent = [
            {"response": item.response, "reference": item.reference, "prompt": item.prompt}
            for item in items[start : start + _BATCH]
        ]
        verdicts.extend((await client.score(str(bundle.ref), sent)).verdicts)
        advance(len(sent))
    return Pass(
        scores=[verdict.score for verdict in verdicts],
        outcomes=[verdict.outcome.value for verdict in verdicts],
        cached=sum(verdict.cached for verdict in verdicts),
    )
