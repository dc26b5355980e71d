"""Reads words of a command line as Hydra does, which verl and SkyRL read theirs with."""

import json
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser  # type: ignore[import-not-found]

words = json.load(sys.stdin)
print(json.dumps([parsed.value() for parsed in OverridesParser.create().parse_overrides(words)]))
