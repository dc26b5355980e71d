"""The Dockerfile as far as it can be held to the rest without an engine: what it copies, names and asks for."""

import json
import os
import re
import shlex
import subprocess
import sys
from urllib.parse import urlsplit

import yaml

from countermark_service.settings import Settings
from tests.support import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in shlex.split(line)[:-1]
    ]
    let_through = {
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert len(copied) >= 8
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []
    assert set(copied) == let_through


def test_every_variable_of_image_and_compose_file_is_a_setting() -> None:
    named = set(re.findall(r"COUNTERMARK_(\w+)=", DOCKERFILE)) - {"DATA"}
    named |= {
        name.removeprefix("COUNTERMARK_")
        for name in COMPOSE["services"]["service"]["environment"]
        if name.startswith("COUNTERMARK_")
    }
    assert named >= {"LOG_FORMAT", "REDIS_URL"}
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_health_check_asks_the_service_itself_whatever_proxy_there_is(service_url: str) -> None:
    """Engines put the proxies of their configuration into every container."""
    found = re.search(r"^HEALTHCHECK.*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    program = json.loads(found[1])[2]
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")

    def asked(port: int) -> int:
        assert "8000" in program
        command = [sys.executable, "-c", program.replace("8000", str(port))]
        return subprocess.run(
            command, env={**os.environ, **proxies}, capture_output=True, check=False
        ).returncode

    assert asked(urlsplit(service_url).port or 0) == 0
    assert asked(9) != 0
