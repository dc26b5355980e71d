"""What an audit reads: one row per response, and a note for everything that is none.

The shape is the same for every format. What a format says beyond it is kept in
`extras`, so that nothing which was published is lost between file and report.
"""

from typing import Any

import msgspec


class OutputRow(msgspec.Struct, frozen=True, kw_only=True):
    """One response of a model, with what it is held against and what was published about it."""

    index: int
    """Place among the usable rows of the audit, from 0; the key of everything that is stored."""
    file: str
    """The input file, as it was named; a file of a folder with its path below the folder."""
    line: int
    """Where in `file`, from 1: the line of a text file, the row of a table, the entry of a list or archive."""
    task: str
    """Benchmark or data source, such as ``gsm8k``; the key of a card's routes. Never empty."""
    variant: str = ""
    """What else divides the rows of a task, such as lm-eval's filter; a mean is taken per task and variant."""
    model: str = ""
    """The model as the file names it; empty where it does not."""
    sample: str
    """Which question of the task this answers; equal for all responses to one question."""
    generation: int = 0
    """Which response to the question, from 0: epoch, rollout or repeat."""
    prompt: str | None = None
    """The question as the model got it; a chat as one text with roles."""
    response: str
    """What the model wrote, unprocessed."""
    reference: Any
    """What the response is held against: any JSON value."""
    params: dict[str, Any] = {}
    """Parameters that the row itself carries for the verifier; a card's are with its route."""
    published: float | None = None
    """The score that was published for this response, in the units of `metric`: true and ``C`` are 1.0, false and
    ``I`` are 0.0. None where there is none or it is no finite number."""
    metric: str | None = None
    """Name of the metric or scorer that `published` comes from; None where `published` is."""
    extras: dict[str, Any] = {}
    """What else the file says and a reader kept: ``metrics`` (every published metric by name), ``extracted``
    (the published extraction), and others by the format's own names."""


class Unusable(msgspec.Struct, frozen=True):
    """A row, or a whole file, that cannot be scored."""

    file: str
    """The input file, as in `OutputRow`."""
    line: int | None
    """Where in it, as in `OutputRow`; None for what concerns the whole file."""
    code: str
    """Stable reason, such as ``no_reference``; rows are counted by it."""
    message: str
    """What is wrong and what to do, as one sentence."""
