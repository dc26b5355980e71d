"""`countermark serve`: the HTTP service in the foreground."""

import gc
import ipaddress
import socket
from pathlib import Path
from typing import Annotated

import typer

from countermark_service.errors import SettingsError


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one [default: 8000].")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for environments, store and keys.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Items judged at the same time [default: the cores].")
    ] = None,
    open_access: Annotated[
        bool | None, typer.Option("--open-access", help="Allow a reachable address without any key.")
    ] = None,
) -> None:
    """Serve verifiers over HTTP.

    Example: `countermark serve --port 8000`, then
    `curl -s localhost:8000/v1/verifiers`.

    Settings come from these options, then the environment (COUNTERMARK_PORT, …), then the TOML file that
    COUNTERMARK_CONFIG names.
    """
    import uvicorn

    from countermark_service.api import create_app
    from countermark_service.assembly import assemble
    from countermark_service.cli.logs import configure_logs
    from countermark_service.settings import load_settings

    options = {"host": host, "port": port, "data": data, "workers": workers, "open_access": open_access}
    settings = load_settings(options)
    configure_logs(settings)
    service = assemble(settings)
    if not (is_loopback(settings.host) or settings.open_access or service.access.all()):
        raise SettingsError(
            "settings", "host", settings.host,
            "anybody who reaches this address could decide rewards and read prompts. Make a key with "
            "`countermark access add --scope score`, or say --open-access on a closed network",
        )  # fmt: skip
    app = create_app(service)
    # What is here now stays for good: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=30,
        server_header=False,
        proxy_headers=False,
    )


def is_loopback(host: str) -> bool:
    """True where only this machine reaches `host`."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
        return all(ipaddress.ip_address(address).is_loopback for address in addresses)
    except (OSError, ValueError):
        return False
