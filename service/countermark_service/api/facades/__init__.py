"""Other systems' wire formats, each in one file, over the same scoring as the native API.

A trainer's own client works unchanged: it is given a URL below this service. Its
contract is the client's code, not ours, so a facade takes what that client sends
(unknown keys too, where the real server takes them), answers in its shape, and is
left out of the OpenAPI document, which promises the native API.

To add one:

1. Write ``facades/<name>.py`` with ``router = facade_router("/<name>", refuse)``. Routes
   take the request and `ScoringDep` or `RunningDep`, read the body with `read_json`,
   score with `judged` and `scores_of` (or run a program), and return a `json_answer`.
   A pin in the path is ``{ref:path}``: it may hold ``/``, ``:`` and ``@sha256:…``.
2. Write its ``refuse``: the one function from an error to status and body. Everything
   that goes wrong comes by it: no key, a bad body, saturation, a part that is not to
   be had, verdicts without a score (`VerdictFailedError`), and bugs (`InternalError`,
   logged before). Choose what *this* client takes for "try again" or "invalid". A
   failure must never look like a reward of 0.
3. Enter the router in `table.FACADES`, and add its section to ``service/docs/facades.md``,
   which begins with the lines that a user pastes. A test compares the two.
4. Add ``tests/integration/facades/test_<name>.py``, and run the client's own code in
   ``tests/conformance/frameworks/``.

The token in the path (`path_token`) and the switch (`COUNTERMARK_FACADES`) come by themselves.
"""

from countermark_service.api.facades.table import FACADES, chosen, install

__all__ = ["FACADES", "chosen", "install"]
