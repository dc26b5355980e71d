"""The clients among threads, event loops, forks and exits, each in a real process of its own.

Every program runs with all warnings as errors and must end without a word on standard
error: an unclosed socket, a task that was never awaited or a loop that was destroyed would be one.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.client.scripted_server import Received, ScriptedServer, Wire, hang

PREAMBLE = """
import asyncio, gc, os, sys, threading
from countermark import AsyncClient, Client, TransportError
url = sys.argv[1]
ITEMS = [{"response": str(n % 2), "reference": "0"} for n in range(6)]
RIGHT = [1.0, 0.0] * 3
def check(result): assert result.rewards == RIGHT, result
"""


def run(program: str, server: ScriptedServer, host: str | None = None) -> str:
    """Run `program` against `server`; return what it printed."""
    url = server.url if host is None else server.url.replace("127.0.0.1", host)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(program), url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that says it is ready once it has been asked to score something."""
    with ScriptedServer().running() as server:

        async def ready(request: Received, wire: Wire) -> None:
            await wire.reply(200 if server.scored else 503, b"{}")

        server.elsewhere["/readyz"] = ready
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_client_that_is_never_closed_ends_without_noise(server: ScriptedServer, host: str) -> None:
    run("client = Client(url); check(client.score('exact:1.0.0', ITEMS))", server, host)


def test_an_exit_in_the_middle_of_a_stream_ends_it(server: ScriptedServer) -> None:
    server.react = lambda request: hang
    run(
        """
        client = Client(url, max_items_per_request=2)
        def read():
            try:
                list(client.stream("exact:1.0.0", ITEMS))
            except TransportError:
                pass
        threading.Thread(target=read, daemon=True).start()
        while not client.readyz():
            pass
        """,
        server,
    )


def test_a_client_that_is_dropped_ends_its_thread(server: ScriptedServer) -> None:
    run(
        """
        client = Client(url)
        check(client.score("exact:1.0.0", ITEMS))
        (thread,) = (t for t in threading.enumerate() if t.name == "countermark-client")
        del client
        gc.collect()
        thread.join(60)
        assert not thread.is_alive()
        """,
        server,
    )


def test_a_closed_client_can_be_used_again(server: ScriptedServer) -> None:
    run(
        """
        client = Client(url)
        for _ in range(3):
            with client:
                check(client.score("exact:1.0.0", ITEMS))
            assert threading.active_count() == 1
        """,
        server,
    )


def test_forked_children_and_their_parent_score_with_one_client(server: ScriptedServer) -> None:
    out = run(
        """
        client = Client(url, max_items_per_request=1)
        check(client.score("exact:1.0.0", ITEMS))
        stream = client.stream("exact:1.0.0", ITEMS)
        next(stream)
        __import__("warnings").simplefilter("ignore", DeprecationWarning)  # later Pythons warn of fork
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                stream = None  # belongs to the parent
                for _ in range(3):
                    check(client.score("exact:1.0.0", ITEMS))
                client.close()
                os.write(1, b"child\\n")  # in one piece, as others write at the same time
                sys.exit()
            children.append(child)
        check(client.score("exact:1.0.0", ITEMS))
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        check(client.score("exact:1.0.0", ITEMS))
        assert len(list(stream)) == 5
        print("parent")
        """,
        server,
    )
    assert sorted(out.split()) == ["child", "child", "child", "parent"]


def test_a_stream_is_read_where_it_was_begun(server: ScriptedServer) -> None:
    run(
        """
        client = Client(url, max_items_per_request=1, concurrency=1)
        stream = client.stream("exact:1.0.0", ITEMS)
        next(stream)
        __import__("warnings").simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if not child:
            try:
                list(stream)
            except TransportError as error:
                sys.exit(0 if "begun in another event loop or process" in str(error) else str(error))
            sys.exit("no error")
        assert os.waitpid(child, 0)[1] == 0
        assert len(list(stream)) == 5
        client.close()
        """,
        server,
    )


def test_many_threads_share_one_client(server: ScriptedServer) -> None:
    run(
        """
        client, wrong = Client(url), []
        def work():
            for _ in range(5):
                if client.score("exact:1.0.0", ITEMS).rewards != RIGHT:
                    wrong.append(1)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        client.close()
        assert not wrong
        """,
        server,
    )
    assert len(server.scored) == 40


def test_one_async_client_serves_several_loops_in_a_row(server: ScriptedServer) -> None:
    run(
        """
        client = AsyncClient(url)
        async def once():
            async with client:
                check(await client.score("exact:1.0.0", ITEMS))
        for _ in range(3):
            asyncio.run(once())
        """,
        server,
    )


def test_a_loop_that_ends_gives_its_connections_back(server: ScriptedServer) -> None:
    """Nobody closes the client, as in a trainer that calls ``asyncio.run`` in every step."""
    run(
        """
        client = AsyncClient(url)
        async def once():
            check(await client.score("exact:1.0.0", ITEMS))
        def descriptors():
            return len(os.listdir("/proc/self/fd"))
        asyncio.run(once())
        before = descriptors()
        for _ in range(20):
            asyncio.run(once())
        assert descriptors() == before, (before, descriptors())

        import warnings
        warnings.simplefilter("ignore", ResourceWarning)  # of loops that are closed as they stand
        for _ in range(20):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(once())
            loop.close()
        asyncio.run(once())
        gc.collect()
        assert descriptors() == before, (before, descriptors())

        async def after_the_end():
            await once()
            await asyncio.get_running_loop().shutdown_asyncgens()
            await once()
            await client.aclose()
        asyncio.run(after_the_end())
        """,
        server,
    )
    assert len(server.scored) == 44


def test_two_loops_at_once_do_not_share_connections(server: ScriptedServer) -> None:
    run(
        """
        client, failures = AsyncClient(url), []
        async def often():
            async with client:
                for _ in range(10):
                    check(await client.score("exact:1.0.0", ITEMS))
        threads = [threading.Thread(target=asyncio.run, args=(often(),)) for _ in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        server,
    )
    assert len(server.scored) == 20


def test_closing_a_client_ends_the_calls_of_other_threads(server: ScriptedServer) -> None:
    server.react = lambda request: hang
    run(
        """
        client, ended = Client(url), []
        def work():
            try:
                client.score("exact:1.0.0", ITEMS)
            except TransportError as error:
                ended.append(str(error))
        thread = threading.Thread(target=work)
        thread.start()
        while not client.readyz():
            pass
        client.close()
        thread.join()
        assert ended == ["the client was closed while this call was under way."], ended
        """,
        server,
    )


def test_an_interrupt_leaves_the_client_usable(server: ScriptedServer) -> None:
    server.script = [hang]
    run(
        """
        import signal
        client = Client(url)
        def interrupt():
            while not client.readyz():
                pass
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            client.score("exact:1.0.0", ITEMS)
        except KeyboardInterrupt:
            check(client.score("exact:1.0.0", ITEMS))
            client.close()
            print("interrupted")
        """,
        server,
    )


def test_a_cancelled_call_gives_its_connection_up(server: ScriptedServer) -> None:
    server.script = [hang]
    run(
        """
        async def main():
            async with AsyncClient(url) as client:
                call = asyncio.create_task(client.score("exact:1.0.0", ITEMS))
                while not await client.readyz():
                    pass
                call.cancel()
                try:
                    await call
                except asyncio.CancelledError:
                    check(await client.score("exact:1.0.0", ITEMS))
        asyncio.run(main())
        """,
        server,
    )


def test_no_file_but_the_transport_knows_the_http_library() -> None:
    package = Path(__file__).parents[3] / "clients" / "countermark"
    users = {
        path.name for path in package.rglob("*.py") if "import httpx" in path.read_text(encoding="utf-8")
    }
    assert users == {"_transport.py"}


def test_a_client_passes_to_another_process_with_its_settings(server: ScriptedServer) -> None:
    """By pickle, as Ray and `datasets` send what a function uses; a copy is the same."""
    run(
        """
        import copy, multiprocessing, pickle

        def elsewhere(data):
            with pickle.loads(data) as client:
                return client.score("exact:1.0.0", ITEMS).rewards

        with Client(url, api_key="k1", timeout=30.0, concurrency=2) as client:
            check(client.score("exact:1.0.0", ITEMS))
            with multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.apply(elsewhere, (pickle.dumps(client),)) == RIGHT
            for again in (copy.copy(client), copy.deepcopy(client)):
                with again:
                    check(again.score("exact:1.0.0", ITEMS))
                    assert again._settings == client._settings

        async def asynchronous():
            async with AsyncClient(url, api_key="k1") as client:
                check(await client.score("exact:1.0.0", ITEMS))
                async with pickle.loads(pickle.dumps(client)) as again:
                    check(await again.score("exact:1.0.0", ITEMS))

        asyncio.run(asynchronous())
        """,
        server,
    )
    assert len(server.scored) == 6
    assert {request.headers["authorization"] for request in server.scored} == {"Bearer k1"}
