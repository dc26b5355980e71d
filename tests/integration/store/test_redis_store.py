"""Redis as a store: its commands, its addresses and its ways to fail, all with a real server."""

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from countermark_service.errors import SettingsError
from countermark_service.store import StoreUnavailableError
from countermark_service.store.redis import RedisStore
from tests.integration.store.conftest import EVENT_SECONDS, entries, key
from tests.redis_server import RedisServer, skip_without_redis

SECRET = "pa55-of-nobody"


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisStore]:
    """A store on the test's own server, which gives up quickly."""
    made = RedisStore(redis.url, timeout_seconds=0.3)
    yield made
    await made.close()


def calls(redis: RedisServer) -> dict[str, int]:
    """Return how often the server ran each command."""
    stats = redis.command("INFO", "commandstats").decode()
    return {name: int(count) for name, count in re.findall(r"cmdstat_(\S+?):calls=(\d+)", stats)}


async def test_a_batch_is_one_command_whatever_its_size(redis: RedisServer, store: RedisStore) -> None:
    await store.put_many(entries(0, 1000))
    await store.get_many(list(entries(0, 1000)))
    done = calls(redis)
    assert (done["mset"], done["mget"]) == (1, 1)
    assert "set" not in done
    assert "get" not in done


async def test_keys_carry_a_prefix_and_have_no_time_to_live(redis: RedisServer, store: RedisStore) -> None:
    await store.put_many({key(1): b"one"})
    assert redis.command("GET", b"cm1:c:" + key(1)).startswith(b"$7\r\none")
    assert redis.command("TTL", b"cm1:c:" + key(1)) == b":-1\r\n"


def bit_by_bit(value: bytes) -> Iterator[bytes]:
    """Yield `value` with each of its bits changed."""
    for bit in range(8 * len(value)):
        yield (int.from_bytes(value) ^ (1 << bit)).to_bytes(len(value))


async def test_a_value_that_somebody_else_changed_is_a_miss_and_can_be_kept_anew(
    redis: RedisServer, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A digit of a score is one bit away from another."""
    await store.put_many({key(1): b'{"score":1.0}', key(2): b"two"})
    kept, other = (redis.command("GET", b"cm1:c:" + key(n)).split(b"\r\n", 1)[1][:-2] for n in (1, 2))
    changed = [*bit_by_bit(kept), *(kept[:length] for length in range(len(kept))), kept + b"x", other]
    for value in changed:
        redis.command("SET", b"cm1:c:" + key(1), value)
        assert await store.get_many([key(1), key(2)]) == [None, b"two"]
    redis.command("DEL", b"cm1:c:" + key(1))
    redis.command("LPUSH", b"cm1:c:" + key(1), b"a list")
    assert await store.get_many([key(1)]) == [None]
    assert caplog.text.count("were changed by somebody else") == len(changed)
    await store.put_many({key(1): b'{"score":1.0}'})
    assert await store.get_many([key(1)]) == [b'{"score":1.0}']


async def test_of_two_that_find_nothing_and_write_the_first_stays(redis: RedisServer) -> None:
    other = RedisStore(redis.url, looks_first=True)

    class Slow(RedisStore):
        async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
            found = await super().get_many(keys)
            await other.put_many({key(1): b"first"})
            return found

    store = Slow(redis.url, looks_first=True)
    await store.put_many({key(1): b"second", key(2): b"two"})
    assert await other.get_many([key(1), key(2)]) == [b"first", b"two"]
    await store.close()
    await other.close()


async def test_the_database_of_the_url_is_used(redis: RedisServer, store: RedisStore) -> None:
    other = RedisStore(redis.url + "?db=3")
    await other.put_many({key(1): b"in three"})
    assert await store.get_many([key(1)]) == [None]
    assert await other.get_many([key(1)]) == [b"in three"]
    await other.close()


async def test_nothing_is_connected_before_the_first_command() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    await store.close()


async def test_no_server_is_a_store_that_is_unavailable(tmp_path: Path) -> None:
    store = RedisStore(f"unix://{tmp_path}/nobody")
    for attempt in (store.start(), store.get_many([key(1)]), store.put_many({key(1): b"x"})):
        with pytest.raises(StoreUnavailableError, match="Check that the server runs") as caught:
            await attempt
        assert caught.value.code == "store_unavailable"
        assert caught.value.values()["store"] == "redis"
    await store.close()


async def test_a_killed_server_is_used_again_when_it_is_back(redis: RedisServer, store: RedisStore) -> None:
    await store.put_many(entries(0, 10))
    redis.kill()
    with pytest.raises(StoreUnavailableError):
        await store.get_many([key(1)])
    redis.start()
    assert await store.get_many([key(1)]) == [None]
    await store.put_many(entries(0, 10))
    assert await store.get_many([key(1)]) == [entries(1, 1)[key(1)]]


async def test_connections_that_a_restart_broke_cost_no_error(redis: RedisServer, store: RedisStore) -> None:
    await asyncio.gather(*[store.get_many([key(number)]) for number in range(20)])
    redis.restart()
    answers = await asyncio.gather(*[store.get_many([key(number)]) for number in range(20)])
    assert answers == [[None]] * 20


async def test_late_answers_of_a_server_that_hung_are_not_taken_for_new_ones(
    redis: RedisServer, store: RedisStore
) -> None:
    kept = entries(0, 40)
    await store.put_many(kept)
    redis.pause()
    lookups = [store.get_many([key(number)]) for number in range(20)]
    async with asyncio.timeout(EVENT_SECONDS):
        answers = await asyncio.gather(*lookups, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    assert "no answer to MGET within 0.3 s" in str(answers[0])
    redis.resume()
    for number in range(20, 40):
        assert await store.get_many([key(number)]) == [kept[key(number)]]


async def test_a_full_server_that_may_not_evict_refuses_writes_and_goes_on_answering(tmp_path: Path) -> None:
    skip_without_redis()
    with RedisServer(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as full:
        store = RedisStore(full.url)
        await store.put_many(entries(0, 10))

        async def fill() -> None:
            for first in range(10, 100_000, 500):
                await store.put_many(entries(first, 500, size=1000))

        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await fill()
        assert await store.get_many(list(entries(0, 10))) == list(entries(0, 10).values())
        await store.close()


async def test_a_full_server_that_evicts_takes_everything(tmp_path: Path) -> None:
    skip_without_redis()
    with RedisServer(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as small:
        store = RedisStore(small.url)
        for first in range(0, 10_000, 500):
            await store.put_many(entries(first, 500, size=1000))
        kept = entries(0, 10_000, size=1000)
        answers = await store.get_many(list(kept))
        assert None in answers
        assert any(answers)
        assert all(answer in (None, right) for answer, right in zip(answers, kept.values(), strict=True))
        await store.close()


async def test_a_password_is_used_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    skip_without_redis()
    caplog.set_level("DEBUG")
    with RedisServer(tmp_path, "--requirepass", SECRET) as locked:
        right = RedisStore(f"unix://:{SECRET}@{locked.socket}")
        await right.start()
        await right.put_many({key(1): b"one"})
        assert await right.get_many([key(1)]) == [b"one"]
        wrong = RedisStore(f"unix://:{SECRET}-not@{locked.socket}")
        with pytest.raises(StoreUnavailableError, match="Check user and password") as caught:
            await wrong.start()
        without = RedisStore(locked.url)
        with pytest.raises(StoreUnavailableError, match="Check user and password"):
            await without.start()
        for store in (right, wrong, without):
            await store.close()
    shown: list[str] = [caplog.text]
    error: BaseException | None = caught.value
    while error is not None:
        shown.append(repr(error))
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if SECRET in text]


async def test_a_user_without_rights_is_told_which_it_needs(redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~cm1:*", "+ping", "+mget")
    store = RedisStore(f"unix://reader:{SECRET}@{redis.socket}")
    await store.start()
    assert await store.get_many([key(1)]) == [None]
    with pytest.raises(StoreUnavailableError, match="Allow this user PING, MGET, MSET, MSETNX and DEL"):
        await store.put_many({key(1): b"x"})
    await store.close()


@pytest.mark.parametrize(("database", "more"), [("", ()), ("?db=3", ("+select",))])
async def test_the_rights_that_are_named_are_enough(
    redis: RedisServer, database: str, more: tuple[str, ...]
) -> None:
    rights = ("+ping", "+mget", "+mset", "+msetnx", "+del", *more)
    redis.command("ACL", "SETUSER", "least", "reset", "on", f">{SECRET}", "~cm1:*", *rights)
    for looks_first in (False, True):
        store = RedisStore(f"unix://least:{SECRET}@{redis.socket}{database}", looks_first=looks_first)
        await store.start()
        await store.put_many({key(1): b"one"})
        assert await store.get_many([key(1)]) == [b"one"]
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@localhost",
        f"redis://:{SECRET}/7@localhost:6379",
        f"redis://user:{SECRET}@localhost:port",
        f"redis://:{SECRET}@localhost?socket_timeout=soon",
        f"redis://:{SECRET}@localhost?no_such_option=1",
        f"redis://:{SECRET}@localhost?retry=3",
        f"redis://:{SECRET}@localhost?retry_on_error=x",
        f"redis://:{SECRET}@localhost?decode_responses=true",
        f"redis://localhost?password={SECRET}&event_dispatcher=x",
        f"redis://:{SECRET}@localhost:6379/verdicts",
        "",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="rediss://") as caught:
        RedisStore(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_tls_is_spoken_and_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    skip_without_redis()
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificate for this test")
    certificate, secret_key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", secret_key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no", "--bind", "127.0.0.1",
           "--tls-cert-file", str(certificate), "--tls-key-file", str(secret_key)]  # fmt: skip
    with RedisServer(tmp_path / "redis", *tls):
        trusting = RedisStore(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}")
        await trusting.put_many(entries(0, 300))
        assert await trusting.get_many(list(entries(0, 300))) == list(entries(0, 300).values())
        wary = RedisStore(f"rediss://localhost:{port}/0")
        with pytest.raises(StoreUnavailableError, match="ssl_ca_certs=FILE"):
            await wary.start()
        await trusting.close()
        await wary.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ssl_ca_certs=/no/such/file.pem", "/no/such/file.pem"),
        ("ssl_certfile={key}&ssl_keyfile={key}", "ssl_certfile"),
        ("ssl_keyfile={key}", "ssl_certfile"),
        ("ssl_certfile={certificate}&ssl_keyfile={encrypted}", "ssl_password"),
        ("ssl_certfile={certificate}&ssl_keyfile={encrypted}&ssl_password=not-it", "ssl_password"),
        ("ssl_ciphers=NONE-SUCH", "cipher"),
    ],
)
def test_certificates_that_cannot_be_used_are_refused_before_anything_is_connected(
    tmp_path: Path, options: str, said: str
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificate for this test")
    made = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "encrypted")}
    new: list[str | Path] = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=here", "-newkey", "ec",
           "-pkeyopt", "ec_paramgen_curve:prime256v1"]  # fmt: skip
    encrypt: list[str | Path] = ["openssl", "ec", "-aes256", "-passout", f"pass:{SECRET}", "-in", made["key"]]
    for command in (
        [*new, "-keyout", made["key"], "-out", made["certificate"]],
        [*encrypt, "-out", made["encrypted"]],
    ):
        subprocess.run(command, check=True, capture_output=True)
    right = f"ssl_certfile={made['certificate']}&ssl_keyfile={made['encrypted']}&ssl_password={SECRET}"
    RedisStore(f"rediss://localhost/0?{right}")
    with pytest.raises(SettingsError, match=said) as caught:
        RedisStore(f"rediss://:{SECRET}@localhost/0?{options.format(**made)}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        b"*2\r\n-WRONGTYPE x\r\n-WRONGTYPE x\r\n", b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"+OK\r\n", b":5\r\n",
        b"*2\r\n:1\r\n:2\r\n", b"*3\r\n$-1\r\n$-1\r\n$-1\r\n", b"$2\r\nab\r\n",
    ],
)  # fmt: skip
async def test_a_reply_of_another_shape_is_a_store_that_is_unavailable(reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"MGET\r\n":
                writer.write(reply)
            elif line.rstrip() in (b"HELLO", b"CLIENT", b"PING", b"SELECT"):
                writer.write(b"-ERR unknown\r\n" if line.startswith(b"HELLO") else b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisStore(f"redis://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailableError):
        await store.get_many([bytes(32), b"k" * 32])
    await store.close()
    server.close()
