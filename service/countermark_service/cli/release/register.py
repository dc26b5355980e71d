"""`countermark release register`: a name and version that keeps its card for ever."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from countermark_service.cli.options import CardArgument, DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.releases import Release


def register(
    card: CardArgument = Path(),
    server: Annotated[
        str | None, typer.Option(help="Address of a service. Without it: the data folder of this machine.")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a card, so that requests may name the release and a task in place of a verifier.

    Example: `countermark release register --server http://127.0.0.1:8000`

    Its verifiers must be here by their digests and take the parameters of their routes. The same card again
    changes nothing; another card under the same name and version is refused. A service that wants a key
    finds one with the scope admin in COUNTERMARK_API_KEY.
    """
    from countermark_service.cli.console import note, print_json
    from countermark_service.cli.release.card_file import find_card

    _, release = find_card(card)
    new = _sent(dict(release.document), server) if server is not None else _kept(release, data)
    if as_json:
        print_json({"ref": str(release.ref), "digest": release.digest, "new": new})
        return
    print(release.ref)
    note("registered" if new else "was registered already")


def _kept(release: "Release", data: Path | None) -> bool:
    from countermark_service.assembly import build_registry, build_releases
    from countermark_service.scoring import Scorer
    from countermark_service.store import MemoryStore, TieredStore

    settings = command_settings(data)
    Scorer(build_registry(settings), {}, TieredStore(MemoryStore())).check_release(release)
    return build_releases(settings).register(release)[1]


def _sent(document: dict[str, Any], server: str) -> bool:
    import countermark
    from countermark_service.cli.judges import ServiceError

    try:
        with countermark.Client(server) as client:
            return client.register(document).new
    except countermark.CountermarkClientError as exc:
        raise ServiceError(str(exc)) from exc
