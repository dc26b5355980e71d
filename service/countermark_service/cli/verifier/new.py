"""`countermark verifier new`: a folder to begin with, which already passes `check`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from countermark_service.cli.options import JsonOption
from countermark_service.errors import BundleError

_SCAFFOLD = Path(__file__).with_name("scaffold")


def new(
    name: Annotated[str, typer.Argument(help="`[namespace/]name`, with `:version` where it is not 1.0.0.")],
    into: Annotated[Path, typer.Option(help="Folder of bundles, made if it is missing.")] = Path("verifiers"),
    as_json: JsonOption = False,
) -> None:
    """Write a new bundle: a working verifier to change.

    Example: `countermark verifier new my-rules`, then `countermark verifier check verifiers/my-rules/1.0.0`
    """
    from countermark_service.cli.console import note, print_json
    from countermark_service.model import BundleRef

    ref = BundleRef.parse(name)
    version = ref.version or "1.0.0"
    folder = into / ref.name / version
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise BundleError(
            f"{folder} is there already: name another version, such as {ref.name}:1.0.1, or change its files."
        ) from None
    except OSError as exc:
        raise BundleError(
            f"{folder} cannot be made: {exc.strerror}. Name another folder with --into."
        ) from exc
    for template in sorted(_SCAFFOLD.iterdir()):
        if template.is_file():
            text = template.read_text(encoding="utf-8")
            if template.suffix == ".toml":
                text = text.replace('"NAME"', f'"{ref.name}"').replace('"VERSION"', f'"{version}"')
            (folder / template.name).write_text(text, encoding="utf-8")
    if as_json:
        print_json({"name": ref.name, "version": version, "folder": str(folder)})
        return
    print(folder)
    note(
        f"It passes as it is: countermark verifier check {quote(str(folder))}\n"
        f"To serve it: COUNTERMARK_BUNDLES={quote(str(into))} countermark serve"
    )
