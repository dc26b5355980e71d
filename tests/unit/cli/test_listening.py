"""What holds for every connection that the service accepts."""

import socket

import pytest

from countermark_service.cli.serve import is_loopback, listen
from countermark_service.errors import SettingsError


def test_a_client_that_vanished_without_a_word_is_noticed_within_minutes() -> None:
    """By default its connection is held for two hours, or for ever."""
    (listener,) = listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            silent, pause, probes = (
                accepted.getsockopt(socket.IPPROTO_TCP, name)
                for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
    assert silent + pause * probes <= 300


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "[::1]", "localhost:8000", "\udcff"])
def test_a_host_that_is_none_is_said_to_be_none_before_anybody_asks_who_reaches_it(host: str) -> None:
    for look in (is_loopback, lambda host: listen(host, 0)):
        with pytest.raises(SettingsError, match=r"no such address|no host has such a name"):
            look(host)
