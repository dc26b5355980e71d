"""What holds for every connection that the service accepts."""

import socket

from countermark_service.cli.serve import listen


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
