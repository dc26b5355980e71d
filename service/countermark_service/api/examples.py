"""Requests that the OpenAPI document shows, beside those that stand with their schemas.

A test sends each to a service, so that what is shown works when it is pasted. The receipt
is a real one, signed by a key that was made for this page: a service answers that it does
not know it.
"""

from typing import Any

RUN: dict[str, Any] = {
    "language": "python",
    "code": "print(int(input()) * 2)",
    "stdin": "21",
    "limits": {"cpu_seconds": 1},
}

CARD: dict[str, Any] = {
    "schema_version": 1,
    "name": "my-lab/sums",
    "version": "1.0",
    "verifier": {
        "routes": [
            {
                "task": "sums",
                "verifier": "numeric:1.4.0@sha256:14ea2eba4150c2a258d8becef6d2a5424a7898ee5765ac868d84461225d746b7",
                "on_failure": "null",
            }
        ]
    },
    "base_model": {"id": "Qwen/Qwen2.5-1.5B"},
}
"""A card that says the least; the schema has all that it may say."""

_PAYLOAD = (
    "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJwcmVkaWNhdGUiOnsiZmFpbGVkIjowLCJpc3N1ZWQi"
    "OiIyMDI2LTExLTI5VDAwOjMxOjIzWiIsIml0ZW1zIjoxLCJvdXRjb21lcyI6eyJzY29yZWQiOjF9LCJzZXJ2aWNlIjp7Im5hbWUi"
    "OiJjb3VudGVybWFyayIsInZlcnNpb24iOiIwLjEuMCJ9LCJzdXJyb3VuZGluZ3MiOlt7ImNvbnRhaW5tZW50IjoibmFtZXNwYWNl"
    "cyIsInBsYXRmb3JtIjoibGludXgteDg2XzY0IiwicHl0aG9uIjoiMy4xMS43In1dLCJ2ZXJpZmllciI6eyJkaWdlc3QiOiJzaGEy"
    "NTY6YTIxYTkxOTNkNDAyZDdmMmU2MGEzNDZiNzJmMjE1YmI5MTcwNThlNDA3NjA3YjcwZjQzZTc2OGE2NjFjMmViNiIsImlkZW50"
    "aXR5Ijoic2hhMjU2OmEyMWE5MTkzZDQwMmQ3ZjJlNjBhMzQ2YjcyZjIxNWJiOTE3MDU4ZTQwNzYwN2I3MGY0M2U3NjhhNjYxYzJl"
    "YjYiLCJuYW1lIjoiZXhhY3QiLCJyZWYiOiJleGFjdDoxLjAuMEBzaGEyNTY6YTIxYTkxOTNkNDAyZDdmMmU2MGEzNDZiNzJmMjE1"
    "YmI5MTcwNThlNDA3NjA3YjcwZjQzZTc2OGE2NjFjMmViNiIsInVzZXNfcHJvbXB0IjpmYWxzZSwidmVyc2lvbiI6IjEuMC4wIn19"
    "LCJwcmVkaWNhdGVUeXBlIjoidXJuOmNvdW50ZXJtYXJrOnByZWRpY2F0ZTpyZWNlaXB0OnYxIiwic3ViamVjdCI6W3siZGlnZXN0"
    "Ijp7InJmYzY5NjJTaGEyNTYiOiI0YmVjMTQ4YzgwYzcyZmUzNmRmMzFhMTUxNWI4NzJkMGE2MmJhZTZjZGNjMmIwYjdkNWY0Zjdj"
    "MTQ4NTFmZTllIn0sIm5hbWUiOiJ2ZXJkaWN0cyJ9XX0="
)

RECEIPT: dict[str, Any] = {
    "receipt": {
        "envelope": {
            "payload": _PAYLOAD,
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [
                {
                    "keyid": "18fea4dbe24c6f08054a191e6d9a958bfd98a724a7a4b203232dc84cf8353d15",
                    "sig": "3J335/PtFItHLi/QPaZKa2O4ME3KriJtlPlm75QbtyVZMUQWSUQjm5WJtuH1t13n59wYa3x8s/SsI2eqW7TwCw==",
                }
            ],
        },
        "leaf": {
            "item": "sha256:e1ca5e651dacde2c579eeb0f41a6d0be8a1fd22f3bde3eea6abf91b58c0dd320",
            "outcome": "scored",
            "score": 1.0,
            "verdict": "sha256:56764193bcd8c20435566f0b51af1d5e90d46a1d189d3b14a4f75dc4969553bd",
        },
        "index": 0,
        "proof": [],
    },
    "items": [{"response": "2", "reference": "2"}],
}
