"""What becomes of an item when a template names a value that it does not have.

A row without it is a bad reference. A sample without it (it is no JSON, or other JSON) is a
response that cannot be read, which is an answer of the model's and scores 0.
"""

import msgspec

from countermark_service.bundles.template import MissingValueError
from countermark_service.model import Outcome, Verdict


def missing_value(exc: MissingValueError) -> Verdict:
    """Return the verdict."""
    if not exc.of_sample:
        return Verdict.failure(Outcome.BAD_REFERENCE, "invalid_variable", f"{exc}.")
    detail = {"code": "sample_unreadable", "message": f"{exc}.", "reward": 0.0}
    return Verdict.made(Outcome.NO_ANSWER, 0.0, msgspec.json.encode(detail), b"{}")
