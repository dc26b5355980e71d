"""TLS: a server is believed if its certificate is trusted, and not spoken to otherwise."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from countermark import ConnectError
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted_server import NAME, ScriptedServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
ITEMS = [{"response": "1", "reference": "1"}]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine's loopback address that nobody has signed, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    asked = ["-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=scripted"]
    names: list[str | Path] = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        path,
        "-out",
        path.with_suffix(".crt"),
    ]
    subprocess.run(["openssl", "req", *asked, *names], check=True, capture_output=True)
    return path


@pytest.fixture
def identity(certificate: Path) -> ssl.SSLContext:
    """What a server shows of itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate)
    return context


async def test_a_trusted_server_is_scored_at(
    connect: Connect, identity: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with ScriptedServer(tls=identity).running() as server:
        assert server.url.startswith("https://")
        caller = connect(server)
        assert (await caller.score(NAME, ITEMS)).rewards == [1.0]
        await caller.close()


async def test_an_untrusted_server_gets_nothing_but_a_handshake(
    connect: Connect, identity: ssl.SSLContext
) -> None:
    broken: list[OSError] = []

    def shake_hands(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection, pytest.raises(OSError, match=r".") as refused:
                identity.wrap_socket(connection, server_side=True)  # ends when the client has agreed
            broken.append(refused.value)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=shake_hands, args=(listener,))
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectError, match=f"no whole answer from {url}: .*CERTIFICATE_VERIFY_FAILED"):
            await connect(url, api_key="s3cret", max_retries=1).score(NAME, ITEMS)
        thread.join()
    assert len(broken) == 2
