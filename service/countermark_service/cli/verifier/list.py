"""`countermark verifier list`: every verifier in sight."""

from countermark_service.cli.options import DataOption, JsonOption, command_settings


def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the verifiers that this machine has.

    Example: `countermark verifier list`

    Digests are shortened to fit; `--json` and `countermark verifier show` have the whole pins.
    """
    from countermark_service.assembly import build_advisories, build_registry
    from countermark_service.cli.console import note, print_json, short_digest, show, table

    settings = command_settings(data)
    registry, advisories = build_registry(settings), build_advisories(settings)
    about = {bundle.digest: advisories.about([bundle.digest]) for bundle in registry}
    if as_json:
        verifiers = [
            {
                "ref": str(bundle.ref),
                "name": bundle.manifest.name,
                "version": bundle.manifest.version,
                "digest": bundle.digest,
                "runtime": bundle.manifest.runtime,
                "summary": bundle.manifest.summary,
                "origin": bundle.origin,
                "advisories": [one.document() for one in about[bundle.digest]],
            }
            for bundle in registry
        ]
        broken = [{"ref": ref, "code": exc.code, "detail": str(exc)} for ref, exc in registry.broken.items()]
        print_json({"verifiers": verifiers, "broken": broken})
        return
    rows = table("verifier", "digest", "runtime", "summary")
    for bundle in registry:
        manifest = bundle.manifest
        name = f"{manifest.name}:{manifest.version}"
        marks = "".join(
            f"{kind.upper()}: " for kind in dict.fromkeys(one.kind for one in about[bundle.digest])
        )
        rows.add_row(name, short_digest(bundle.digest), manifest.runtime, marks + manifest.summary)
    show(rows)
    for ref, exc in registry.broken.items():
        note(f"not usable: {ref}: {exc}")
