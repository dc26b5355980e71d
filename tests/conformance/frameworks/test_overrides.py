"""What the pages give for a command line is read by the reader of the trainers' command lines."""

import re
import shlex

from tests.conformance.frameworks.adapters import DRIVERS
from tests.conformance.frameworks.conftest import Fetched
from tests.conformance.frameworks.fetched import Package, run_client
from tests.support import REPOSITORY

HYDRA = Package("hydra", (), ("hydra-core==1.3.2",))
PAGES = REPOSITORY / "service/docs/adapters"


def words(page: str) -> list[str]:
    """Return what a shell makes of the assignments on a page, in order."""
    text = (PAGES / f"{page}.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    typed = "\n".join(block for language, block in blocks if language in ("", "bash"))
    return [word for word in shlex.split(typed, comments=True) if "=" in word]


def test_the_lines_for_verl_and_skyrl_are_read_as_they_are_pasted(fetched: Fetched) -> None:
    values = run_client(fetched(HYDRA), DRIVERS / "hydra_overrides.py", words("verl") + words("skyrl_gym"))
    assert values == [
        "pkg://countermark.adapters.verl",
        "math-verify:0.9.0-r2",
        {"openai/gsm8k": "gsm8k-answer:1.0.0", "math_dapo": "math-verify:0.9.0-r2"},
        0.0,
        "countermark",
        "math-verify:0.9.0-r2",
    ]
