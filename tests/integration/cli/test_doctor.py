"""What the machine gives, which settings are in force, and who may call."""

import socket
from pathlib import Path
from typing import Any

import pytest

from countermark_service.cli.served import ServiceEndedError, served
from tests.integration.cli.conftest import Cli, Ended
from tests.redis_server import RedisServer, skip_without_redis

FIRST = "last-number:1.0.0"


def line(ended: Ended, name: str) -> dict[str, Any]:
    """Return the check of that name."""
    (found,) = [check for check in ended.json["checks"] if check["name"] == name]
    return dict(found)


def test_doctor_finds_what_scoring_needs(cli: Cli) -> None:
    ended = cli("doctor", "--json")

    assert ended.code == 0, ended.out
    assert ended.json["ok"] is True
    found = {check["name"] for check in ended.json["checks"]}
    assert found >= {
        "service", "cores", "memory", "containment", "landlock", "bubblewrap", "uv", "python 3.11",
        "verifiers", "data folder", "environments", "store", "access keys",
    }  # fmt: skip
    assert "fail" not in {check["status"] for check in ended.json["checks"]}
    assert all(check["advice"] for check in ended.json["checks"] if check["status"] != "ok")


def test_doctor_fails_where_the_data_folder_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = cli("doctor", "--json", "--data", tmp_path / "file" / "data")

    assert ended.code == 1
    assert line(ended, "data folder")["status"] == "fail"


def test_doctor_asks_redis_how_it_makes_room(cli: Cli, tmp_path: Path) -> None:
    skip_without_redis()
    with RedisServer(tmp_path / "redis", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru") as redis:
        env = {"COUNTERMARK_REDIS_URL": redis.url}
        good = cli("doctor", "--json", env=env)
        redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        full = cli("doctor", "--json", env=env)
        redis.kill()
        gone = cli("doctor", "--json", env=env)

    assert line(good, "store")["status"] == line(good, "redis memory")["status"] == "ok"
    assert line(full, "redis memory")["status"] == "warn"
    assert "allkeys-lru" in line(full, "redis memory")["advice"]
    assert line(gone, "store")["status"] == "warn"
    assert gone.code == 0, "a store that is down costs hits, never verdicts"


def test_doctor_tells_a_replica_from_its_master(cli: Cli, tmp_path: Path) -> None:
    skip_without_redis()
    with RedisServer(tmp_path / "redis", "--replicaof", "127.0.0.1 1") as replica:
        ended = cli("doctor", "--json", env={"COUNTERMARK_REDIS_URL": replica.url})

    assert line(ended, "redis")["status"] == "warn"
    assert "of 127.0.0.1:1" in line(ended, "redis")["found"]


def test_doctor_names_scratch_folders_that_older_versions_left(cli: Cli, tmp_path: Path) -> None:
    data, temporary = tmp_path / "data", tmp_path / "tmp"
    old = [
        data / "scratch/scratch-ab12_xyz",
        temporary / "candidate-ab12_xyz",
        temporary / "countermark-ab12_xyz",
    ]
    others = [
        data / "scratch/scratch-mine",
        temporary / "countermark-backup-1",
        temporary / "scratch-ab12_xyz",
    ]
    for folder in (*old, *others):
        folder.mkdir(parents=True)

    ended = cli("doctor", "--json", "--data", data, env={"TMPDIR": str(temporary)})

    found = line(ended, "scratch folders")["found"]
    assert all(str(folder) in found for folder in old)
    assert not [folder for folder in others if str(folder) in found]


def test_settings_say_value_source_and_variable_and_hide_a_password(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "countermark.toml"
    config.write_text(
        'port = 9000\nredis_url = "redis://user:secret@secret@example.org/0?ssl_password=secret"\n'
    )

    ended = cli(
        "settings", "--json", env={"COUNTERMARK_CONFIG": str(config), "COUNTERMARK_PRELOAD": "a:1 b:2"}
    )
    for_people = cli("settings")

    found = {one["name"]: one for one in ended.json["settings"]}
    assert found["port"]["value"] == 9000
    assert found["port"]["source"] == str(config)
    assert found["preload"]["value"] == ["a:1", "b:2"]
    assert found["preload"]["source"] == "the environment (COUNTERMARK_PRELOAD)"
    assert found["max_items"]["source"] == "default"
    assert found["redis_url"]["value"] == "redis://user:***@example.org/0?ssl_password=***"
    assert "secret" not in ended.out
    assert all(one["variable"] in for_people.out for one in found.values())
    assert all(one["description"] for one in found.values())


def test_a_setting_that_cannot_be_used_is_one_sentence(cli: Cli) -> None:
    ended = cli("settings", env={"COUNTERMARK_PORT": "eighty"})

    assert ended.code == 1
    assert "COUNTERMARK_PORT" in ended.err
    assert "'eighty'" in ended.err
    assert "Traceback" not in ended.err


def test_a_key_is_shown_once_and_opens_the_service(
    cli: Cli, rows: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    made = cli("access", "add", "--scope", "score", "--label", "trainer", "--data", data)
    secret = made.out.strip()
    listed = cli("access", "list", "--json", "--data", data)

    ours = {name: value for name, value in variables.items() if name.startswith("COUNTERMARK_")}
    with served(data, ours) as url:
        without = cli("score", rows, "--verifier", FIRST, "--server", url)
        with_key = cli(
            "score", rows, "--verifier", FIRST, "--server", url, env={"COUNTERMARK_API_KEY": secret}
        )
    (key,) = listed.json["keys"]
    removed = cli("access", "remove", key["id"], "--json", "--data", data)

    assert (key["scopes"], key["label"]) == (["score"], "trainer")
    assert secret not in listed.out
    assert without.code == 1
    assert "401 unauthorized" in without.err
    assert with_key.code == 0, with_key.err
    assert removed.code == 0
    assert removed.json == {"removed": key["id"]}
    assert cli("access", "list", "--json", "--data", data).json["keys"] == []
    assert cli("access", "remove", key["id"], "--data", data).code == 1
    assert cli("access", "add", "--scope", "everything", "--data", data).code == 1


def test_a_service_says_when_its_port_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ended = cli("serve", "--port", str(port))

    assert ended.code == 1
    assert f"`port` is {port}: another program listens on it." in ended.err


def test_a_service_that_cannot_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceEndedError, match="no-such-verifier"),
        served(tmp_path, {"COUNTERMARK_PRELOAD": "no-such-verifier:1"}),
    ):
        pytest.fail("it runs")
