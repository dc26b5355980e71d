"""`countermark verifier show`: what one verifier says of itself."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.bundles import Bundle
    from countermark_service.registry import Advisory
    from countermark_service.settings import Settings


def show(
    ref: Annotated[str, typer.Argument(help="`name:version`, a pin with digest, or a folder.")],
    vectors: Annotated[bool, typer.Option("--vectors", help="Show every vector as well.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a verifier: pin, rules, parameters, limits.

    Example: `countermark verifier show math-verify:0.9.0-r2`
    """
    from countermark_service.cli.console import print_json
    from countermark_service.cli.verifier.subject import find_bundle

    settings = command_settings(data)
    bundle = find_bundle(ref, settings)
    advisories = _advisories(bundle, settings)
    if as_json:
        print_json(_document(bundle, advisories))
    else:
        _print(bundle, advisories, vectors=vectors)


def _advisories(bundle: "Bundle", settings: "Settings") -> "tuple[Advisory, ...]":
    """Return what stands against a bundle and the bundles that it asks."""
    from countermark_service.assembly import build_advisories, build_registry
    from countermark_service.registry import bundles_below

    below = bundles_below(bundle, build_registry(settings)) if bundle.manifest.composite else []
    return build_advisories(settings).about([bundle.digest, *(one.digest for one in below)])


def _document(bundle: "Bundle", advisories: "tuple[Advisory, ...]") -> dict[str, Any]:
    import msgspec

    return {
        "ref": str(bundle.ref),
        "digest": bundle.digest,
        "origin": bundle.origin,
        "manifest": bundle.manifest.model_dump(mode="json", exclude_none=True),
        "parameters": bundle.manifest.parameters_schema(),
        "requirements": bundle.lock.decode("utf-8", "replace"),
        "vectors": msgspec.to_builtins(bundle.vectors),
        "advisories": [one.document() for one in advisories],
    }


def _print(bundle: "Bundle", advisories: "tuple[Advisory, ...]", *, vectors: bool) -> None:
    import json

    import msgspec

    from countermark_service.cli.console import reflowed, table
    from countermark_service.cli.console import show as print_parts
    from countermark_service.engine.lockfile import read_lock

    manifest, limits = bundle.manifest, bundle.manifest.limits
    parts: list[Any] = [str(bundle.ref), manifest.summary, ""]
    for one in advisories:
        instead = f" Instead: {one.replacement}." if one.replacement else ""
        parts += [f"{one.kind.upper()} since {one.date} ({one.id}): {one.reason}{instead}", ""]
    if manifest.description:
        parts += [reflowed(manifest.description), ""]
    facts = table("", "")
    facts.show_header = False
    facts.add_row("runtime", manifest.runtime + (f", Python {manifest.python}" if manifest.python else ""))
    facts.add_row("prompt", "takes part" if manifest.uses_prompt else "takes no part")
    if manifest.functions:  # the others run no code
        facts.add_row(
            "limits",
            f"{limits.cpu_seconds:g} s of CPU time and {limits.memory_mib} MiB an item, "
            f"{limits.wall_seconds:g} s without progress",
        )
        facts.add_row("reduction", "declared" if manifest.reduce else "none")
        facts.add_row("requirements", ", ".join(str(one) for one in read_lock(bundle.lock)) or "none")
    if manifest.judge is not None:
        facts.add_row("model", manifest.judge.model)
        facts.add_row("votes", f"{manifest.judge.votes.count}, {manifest.judge.votes.combine}")
    if manifest.composite is not None:
        facts.add_row("combine", manifest.composite.combine)
    facts.add_row("license", manifest.license or "not said")
    facts.add_row("vectors", str(len(bundle.vectors)))
    facts.add_row("folder", bundle.origin)
    parts.append(facts)
    if manifest.composite is not None:
        children = table("child", "verifier", "declares")
        for child in manifest.composite.children:
            rest = child.model_dump(mode="json", exclude={"name", "verifier"}, exclude_defaults=True)
            children.add_row(
                child.name, child.verifier, json.dumps(rest, ensure_ascii=False) if rest else "-"
            )
        parts += ["", children]
    if manifest.parameters:
        rows = table("parameter", "default", "schema", "description")
        for name, schema in manifest.parameters.items():
            rest = {k: v for k, v in schema.items() if k not in ("default", "description")}
            default = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else "-"
            shown = json.dumps(rest, ensure_ascii=False)
            rows.add_row(name, default, shown, " ".join(schema.get("description", "").split()))
        parts += ["", rows]
    if vectors:
        rows = table("vector", "response", "reference", "expected")
        for vector in bundle.vectors:
            expected = f"{vector.expect.outcome} {vector.expect.score}"
            reference = msgspec.json.encode(vector.item.reference).decode()
            rows.add_row(vector.id, _short(vector.item.response), _short(reference), expected)
        parts += ["", rows]
    print_parts(*parts)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
