"""`countermark settings`: every setting, its value here, and where that comes from."""

import re
from typing import Any

from countermark_service.cli.options import JsonOption

_PASSWORD = re.compile(r"(?<=://)([^:/?#@]*):.*@|((?<=[?&])(?:ssl_)?password=)[^&]*")
"""All up to the last @: who forgets to escape one in a password has not made less of it one."""


def settings(as_json: JsonOption = False) -> None:
    """Show every setting with its value in force.

    Example: `COUNTERMARK_WORKERS=4 countermark settings`

    A value comes from the command line of `serve`, else from the environment, else from the TOML file
    that COUNTERMARK_CONFIG names (keys as here), else it is the default.
    """
    from countermark_service.cli.console import print_json, show, table
    from countermark_service.settings import PREFIX, Settings, load_settings, setting_sources

    values, sources = load_settings(), setting_sources()
    found: list[dict[str, Any]] = []
    for key, described in Settings.model_fields.items():
        found.append(
            {
                "name": key,
                "variable": f"{PREFIX}{key.upper()}",
                "value": _shown(getattr(values, key)),
                "source": sources.get(key, "default"),
                "description": described.description or "",
            }
        )
    if as_json:
        print_json({"settings": found})
        return
    rows = table("setting", "value", "from", "what it is")
    for row in found:
        value = row["value"]
        text = " ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
        source = "environment" if row["source"].startswith("the environment") else row["source"]
        rows.add_row(row["variable"], text, source, row["description"])
    show(rows)


def _shown(value: object) -> object:
    """Return a value as JSON, without the password of a URL."""
    if isinstance(value, tuple):
        return [str(part) for part in value]
    if isinstance(value, str):
        return _PASSWORD.sub(lambda one: f"{one[2]}***" if one[2] else f"{one[1]}:***@", value)
    return value if isinstance(value, (int, float, bool)) or value is None else str(value)
