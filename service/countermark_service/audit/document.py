"""`audit.json`: everything an audit found, for programs; the HTML report shows this and nothing else.

The document holds numbers and their provenance, not the outputs: of the rows on which
verifiers disagree it has a few examples per kind, and names the file that has all
of them. Its `schema_version` rises with every change that a reader could stumble on.

A score is always of one verifier. There is none that averages verdicts of two pins,
and none in which a missing score counts as 0: `bounds` says what such rows could do.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from countermark_service.audit.flips import FlipKind

SCHEMA_VERSION: Literal["1"] = "1"

PUBLISHED = "published"
"""`id` of the column that holds what the files say; verifiers have their pins."""

Standing = Literal["reproduced", "agrees", "differs", "too_few", "undecided", "unpublished", "unscored"]
"""How a published score stands against the recomputed one:

* ``reproduced``: every verdict agrees, and no row went without one.
* ``agrees``: some verdicts differ, no more one way than chance would have it, and the interval of the
  difference reaches no further than `findings.MARGIN`.
* ``differs``: the interval of the difference excludes zero and, where all scores are right or wrong, the exact
  test says so too (by question where questions have several answers).
* ``too_few``: neither of these two, as there are too few rows, or questions, to tell.
* ``undecided``: rows without a score leave more room than that difference.
* ``unpublished``: the files hold no score to compare with.
* ``unscored``: no row has a recomputed score beside a published one.
"""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_Part):
    """A number with the interval around it."""

    value: float
    low: float
    high: float
    level: float
    """Coverage that the interval aims at."""
    method: str
    """How the interval was made; `method` of the report explains the words."""
    rows: int
    items: int
    """Different questions among the rows; they are what the interval takes as drawn independently."""


class Bounds(_Part):
    """The mean were every row without a score worth 0, and were it worth 1."""

    low: float
    high: float


class Column(_Part):
    """What one verifier, or the publisher, said about some rows."""

    id: str
    """`PUBLISHED`, or the verifier's pin."""
    label: str
    """Short name: `name:version`."""
    due: int
    """Rows that this verifier is to score; for the published column, rows that carry a score."""
    score: Estimate | None
    """Mean over the rows that have a score; None where none has."""
    bounds: Bounds | None
    """None where every row has a score."""
    outcomes: dict[str, int]
    """Verdicts by outcome, those that occur; empty for the published column."""
    refused: int = 0
    """Rows that the verifier does not take: there is no verdict."""
    waiting: int = 0
    """Rows not scored yet: the run was stopped."""
    unusable: int = 0
    """Published scores that are on no scale from 0 to 1 and take part in nothing."""


class Mark(_Part):
    """A way of writing that is more frequent among the answers of a kind of disagreement than elsewhere."""

    name: str
    """Such as ``a percent sign``."""
    rows: int
    """Disagreements whose answer has it."""
    of: int
    """Disagreements of the kind with a known answer."""
    usual: float
    """Share of all answers that have it, from an even sample of the rows."""


class Comparison(_Part):
    """Two columns over the rows that both have scored, and over those that only one has."""

    first: str
    """`id` of a column."""
    second: str
    rows: int
    """Rows that both have scored; what follows is of these, up to `changed`."""
    both_right: int
    first_only: int
    """Right under the first alone."""
    second_only: int
    both_wrong: int
    changed: int
    """Rows with two different scores on the same side of right and wrong."""
    first_alone: int
    """Rows that only the first has scored."""
    second_alone: int
    difference: Estimate | None
    """Mean of the second less mean of the first."""
    mcnemar_p: float
    """Exact, two-sided, over the rows that flip."""
    holm_p: float | None = None
    """`mcnemar_p` adjusted for the number of comparisons of this document; None for a part of the rows."""
    items_down: int | None = None
    """Questions whose mean is lower under the second; None where each row is a question of its own."""
    items_up: int | None = None
    items_p: float | None = None
    """Exact sign test over those questions."""
    kinds: dict[FlipKind, int] = {}
    """Disagreements by kind, a missing score on one side being one."""
    about_first: dict[FlipKind, int] = {}
    """Those of `kinds` that are about the first: it takes what the second refuses (equivalence), it finds no
    answer (format), or it has no score. Extraction and other are about neither."""
    marks: dict[FlipKind, Mark] = {}
    """How the answers of these disagreements are written, where that is unusual; empty for a part of the rows."""

    @property
    def flips(self) -> int:
        """Rows that are right under one and wrong under the other."""
        return self.first_only + self.second_only

    @property
    def disagreements(self) -> int:
        """Flips, and rows that only one of the two has scored."""
        return self.flips + self.first_alone + self.second_alone


class Finding(_Part):
    """What the numbers come to, as sentences."""

    standing: Standing
    claimed: str
    """What was published."""
    holds: str
    """What the recomputation gives."""
    why: str
    """What the difference is made of."""


class Slice(_Part):
    """Some rows of the audit: all, those of a task, of a model, or of one of each."""

    task: str | None = None
    """None where the slice is of all tasks."""
    variant: str | None = None
    model: str | None = None
    rows: int
    items: int
    """Different questions."""
    columns: list[Column]
    """The published one first, then the verifiers that score these rows, in the order of `verifiers`."""
    comparisons: list[Comparison]
    finding: Finding

    def column(self, name: str) -> Column | None:
        """Return the column of an `id`."""
        return next((column for column in self.columns if column.id == name), None)

    def comparison(self, first: str, second: str) -> Comparison | None:
        """Return the comparison of two columns, in this order."""
        return next((one for one in self.comparisons if (one.first, one.second) == (first, second)), None)


class Side(_Part):
    """What one column says about a row."""

    column: str
    outcome: str | None
    """None for the published column, and where there is no verdict."""
    score: float | None
    extracted: list[str] | None
    """What was read from the response; None where it is not said."""
    reason: str | None
    """Code and message of what has no score or no answer."""


class PairKind(_Part):
    """Why two columns disagree on a row."""

    first: str
    second: str
    kind: FlipKind
    inferred: bool
    """Whether one of the two does not say what it read, so that the kind is a conclusion."""


class Example(_Part):
    """A row on which columns disagree."""

    row: int
    file: str
    line: int
    task: str
    variant: str
    model: str
    sample: str
    generation: int
    prompt: str | None
    """Beginning of the question."""
    response: str
    """End of the response."""
    response_characters: int
    """Of the whole response."""
    reference: str
    """As text, or JSON; its beginning."""
    sides: list[Side]
    pairs: list[PairKind]


class Kind(_Part):
    """All disagreements of one kind, over all pairs of columns."""

    kind: FlipKind
    title: str
    meaning: str
    rows: int
    """Rows on which some pair disagrees in this way."""
    inferred: int
    """Those of them in which every such pair is inferred."""
    marks: list[Mark]
    """The most telling first."""
    examples: list[Example]
    """The first of each pair of columns; the others are in `Document.flips`."""


class InputFile(_Part):
    """A file that was audited."""

    path: str
    size: int
    sha256: str
    format: str | None
    rows: int


class PinnedVerifier(_Part):
    """A verifier of the audit."""

    pin: str
    name: str
    version: str
    digest: str
    role: Literal["card", "asked"]
    """``card``: a route of the release card names it; ``asked``: it was named on the command line."""
    surroundings: list[dict[str, Any]]
    """Interpreter, platform and containment in which its verdicts were made, the most frequent first."""


class RouteEntry(_Part):
    """That a verifier scores the rows of some tasks, and how."""

    pin: str
    params: dict[str, Any]
    tasks: list[str]
    """The first of them; `task_count` says how many there are."""
    task_count: int


class UnusableRows(_Part):
    """Rows of the files that could not be scored, by reason."""

    code: str
    count: int
    example: str
    """Sentence about the first."""


class Remark(_Part):
    """Something about rows that are used, which a reader should know."""

    file: str
    line: int | None
    """Of the first such row."""
    code: str
    message: str
    """Sentence about the first."""
    count: int
    """Rows of the file that it is about."""


class FileEntry(_Part):
    """A file that lies beside this document."""

    path: str
    sha256: str
    rows: int


class Receipt(_Part):
    """A signed statement over verdicts of this audit."""

    path: str
    """Of its file, from the folder of this document."""
    verifier: str
    key: str
    """Identifier of the key."""
    verdicts: int
    root: str
    """Merkle root over the verdicts."""


class ReceiptKey(_Part):
    """A key that signed receipts of this audit."""

    key: str
    """Identifier."""
    label: str
    """Whose it is, in its owner's words; nobody has checked them."""
    receipts: int
    """How many it signed."""


class Claim(_Part):
    """A result that a release card states."""

    task: str | None
    model: str | None
    metric: str
    value: float
    """As a fraction."""
    tolerance: float
    """How close a recomputed value must come: half a unit of the last decimal that is stated."""
    source: str
    verifier: str | None = None
    """Who judged, with or without digest; None where the card does not say."""
    outputs: str | None = None
    """SHA-256, in hex, of the file that it was measured on, where the card has it."""
    zero_for_none: bool = False
    """Outputs without a score were counted as 0; otherwise they were left out."""


class Document(_Part):
    """The whole of `audit.json`."""

    kind: Literal["countermark-audit"] = "countermark-audit"
    schema_version: Literal["1"] = SCHEMA_VERSION
    title: str
    countermark: str
    """Version that made the document."""
    made_at: str
    """RFC 3339, UTC."""
    complete: bool
    """False where rows still wait for their score."""
    command: list[str]
    """Program and arguments that make this audit again, verifiers with their digests."""
    inputs: list[InputFile]
    verifiers: list[PinnedVerifier]
    routes: list[RouteEntry]
    unusable: list[UnusableRows]
    remarks: list[Remark] = []
    claims: list[Claim] = []
    receipts: list[Receipt] = []
    receipt_keys: list[ReceiptKey] = []
    flips: FileEntry | None = None
    """JSON Lines: every row on which columns disagree, with all verdicts and kinds."""
    headline: str
    overall: Slice
    """All rows. Its means are of rows of all tasks and models; what was claimed is in `parts`."""
    parts: list[Slice]
    """One per task, variant and model: the units in which scores are published."""
    parts_left_out: int
    """Parts that are in `overall` alone: where there are thousands, the largest are told one by one."""
    tasks: list[Slice]
    """One per task and variant; empty where that is one, or the same as `parts`."""
    models: list[Slice]
    """One per model; empty where that is one, or the same as `parts`."""
    kinds: list[Kind]
    notes: list[str]
    """What a reader must know to take the numbers rightly."""
    level: Annotated[float, Field(gt=0, lt=1)]
    """Coverage of all intervals."""
