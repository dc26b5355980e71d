"""`countermark verifier build`: environments, before the first item needs one."""

from typing import TYPE_CHECKING, Annotated

import typer

from countermark_service.cli.options import DataOption, JsonOption, command_settings

if TYPE_CHECKING:
    from countermark_service.bundles import Bundle
    from countermark_service.registry import Registry


def build(
    refs: Annotated[
        list[str] | None, typer.Argument(help="Verifiers `name:version`.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Build for every verifier in sight.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the environments of verifiers.

    Example: `countermark verifier build math-verify:0.9.0-r2 math-verify:0.8.0-r2`

    An environment holds the Python and the packages that a verifier's lock names. It is built once, when
    the first item asks for it; this command does it ahead. The exit code is 1 where one cannot be built.
    """
    from countermark_service.assembly import build_environments, build_registry
    from countermark_service.cli.console import print_json
    from countermark_service.cli.environments import build_and_show

    settings = command_settings(data)
    bundles = _wanted(build_registry(settings), refs or [], everything=everything)
    results = build_and_show(build_environments(settings), bundles)
    if as_json:
        print_json({"environments": [built.document() for built in results]})
    if any(built.failure is not None for built in results):
        raise typer.Exit(1)


def _wanted(registry: "Registry", refs: list[str], *, everything: bool) -> "list[Bundle]":
    if not refs and not everything:
        raise typer.BadParameter("name the verifiers to build for, or say --all.", param_hint="REFS")
    bundles = list(registry) if everything else [registry.resolve(ref) for ref in refs]
    return [bundle for bundle in bundles if bundle.locks]
