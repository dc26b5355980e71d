"""`countermark registry who-uses`: what a bad version has touched."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings
from countermark_service.errors import CountermarkError, RefError

if TYPE_CHECKING:
    from countermark_service.bundles import Bundle
    from countermark_service.receipts.ledger import IssuedReceipt
    from countermark_service.registry import Registry
    from countermark_service.settings import Settings

_SHOWN = 40


@dataclass(frozen=True)
class _Use:
    """A release that names a digest."""

    ref: str
    places: list[str]
    """Where in its card."""


def who_uses(
    digest: Annotated[
        str, typer.Argument(help="Digest (`sha256:…`), pin, or `name:version` of a verifier or release.")
    ],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the composites, releases and receipts that name a digest.

    Example: `countermark registry who-uses math-verify:0.8.0-r2`

    Receipts and releases count that name it themselves, or a composite verifier that asks it. Releases are
    those registered in the data folder and in the folders of the settings; receipts those that were issued
    on this data folder.
    """
    from countermark_service.assembly import build_registry
    from countermark_service.cli.console import print_json

    settings = command_settings(data)
    registry = build_registry(settings)
    wanted = _digest(digest, registry, settings)
    composites = _composites(registry, wanted)
    digests = [wanted, *(bundle.digest for bundle in composites)]
    uses = _uses(settings, set(digests))
    receipts = _receipts(settings, digests)
    if as_json:
        print_json(
            {
                "digest": wanted,
                "composites": [str(bundle.ref) for bundle in composites],
                "releases": [{"ref": use.ref, "places": use.places} for use in uses],
                "receipts": [_receipt(one) for one in receipts],
            }
        )
        return
    _print(wanted, composites, uses, receipts)


def _digest(text: str, registry: "Registry", settings: "Settings") -> str:
    from countermark_service.assembly import build_releases
    from countermark_service.model import DIGEST_PATTERN, BundleRef

    if DIGEST_PATTERN.fullmatch(text):
        return text
    if text.startswith("sha256:"):
        raise RefError(text, "a digest is `sha256:` and 64 lowercase hex digits")
    ref = BundleRef.parse(text)
    if ref.digest is not None:
        return ref.digest
    try:
        return registry.resolve(ref).digest
    except RefError:
        raise
    except CountermarkError as exc:
        try:
            return build_releases(settings).resolve(text).digest
        except CountermarkError:
            raise exc from None


def _composites(registry: "Registry", digest: str) -> "list[Bundle]":
    from countermark_service.registry import bundles_below

    return [
        bundle
        for bundle in registry
        if any(below.digest == digest for below in bundles_below(bundle, registry))
    ]


def _uses(settings: "Settings", digests: set[str]) -> list[_Use]:
    from countermark_service.assembly import build_releases

    found = []
    for one in build_releases(settings).all():
        release = one.release
        places = [place for place, ref in release.card.refs().items() if ref.partition("@")[2] in digests]
        if release.digest in digests:
            places.insert(0, "the card itself")
        if places:
            found.append(_Use(str(release.ref), places))
    return found


def _receipts(settings: "Settings", digests: list[str]) -> "list[IssuedReceipt]":
    from countermark_service.assembly import build_issuer

    ledger = build_issuer(settings).ledger
    try:
        found = {one.root + one.issued: one for digest in digests for one in ledger.receipts_naming(digest)}
    finally:
        ledger.close()
    return sorted(found.values(), key=lambda one: one.issued)


def _receipt(one: "IssuedReceipt") -> dict[str, Any]:
    return {
        "root": one.root,
        "issued": one.issued,
        "verifier": one.ref,
        "items": one.items,
        "failed": one.failed,
        "release": one.release,
        "keyid": one.keyid,
    }


def _print(
    digest: str, composites: "list[Bundle]", uses: list[_Use], receipts: "list[IssuedReceipt]"
) -> None:
    from countermark_service.cli.console import counted, note, show, table

    parts: list[Any] = [digest]
    if composites:
        rows = table("composite verifier that asks it")
        for bundle in composites:
            rows.add_row(str(bundle.ref))
        parts += ["", rows]
    if uses:
        rows = table("release", "places")
        for use in uses:
            rows.add_row(use.ref.partition("@")[0], ", ".join(use.places))
        parts += ["", rows]
    if receipts:
        rows = table("receipt", "issued", "release", numbers=("items",))
        for one in receipts[-_SHOWN:]:
            release = (one.release or "-").partition("@")[0]
            rows.add_row(one.root[:16], one.issued, release, str(one.items))
        parts += ["", rows]
    items = sum(one.items for one in receipts)
    found = [
        counted(len(composites), "composite"), counted(len(uses), "release"), counted(len(receipts), "receipt"),
    ]  # fmt: skip
    parts += ["", f"{', '.join(found)} over {counted(items, 'item')}"]
    show(*parts)
    if len(receipts) > _SHOWN:
        note(f"the last {_SHOWN} receipts are shown; --json has all")
