"""The shapes of the API, for the OpenAPI document and for the control plane."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_EXAMPLE_REF = "numeric:1.4.0"


class _Shape(BaseModel):
    model_config = ConfigDict(defer_build=True)  # most are for the document, which a start does not make


class _Request(_Shape):
    model_config = ConfigDict(extra="forbid")


class ChatMessage(_Shape):
    """A message as chat-completion APIs have it; other keys are allowed and ignored."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[dict[str, Any]] | None = None


class ItemSchema(_Request):
    """One item to score."""

    response: str | list[ChatMessage] = Field(
        description="Text of the model, or chat messages of which the last assistant message is scored."
    )
    reference: Any = Field(description="What the response is held against; the verifier says what it takes.")
    params: dict[str, Any] = Field({}, description="Parameters of the verifier.")
    prompt: str | None = Field(None, description="The question. Counts only where the verifier says so.")
    id: str | int | None = Field(None, description="Your name for the item, given back with its verdict.")


class ScoreRequest(_Request):
    """A batch to score."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "verifier": _EXAMPLE_REF,
                    "items": [{"id": "a", "response": "So it is \\boxed{\\frac{1}{2}}.", "reference": "0.5"}],
                    "on_failure": "null",
                }
            ],
            "oneOf": [{"required": ["verifier"]}, {"required": ["release", "task"]}],
        },
    )
    verifier: str = Field(
        default_factory=str,
        description="Reference with version, or pin with digest.",
        examples=[_EXAMPLE_REF],
    )
    release: str = Field(
        default_factory=str,
        description="In place of `verifier`: a registered release, `name:version`, with its card's digest or not.",
    )
    task: str = Field(default_factory=str, description="Task or data source of the release's card.")
    items: list[ItemSchema] = Field(description="What to score, 4096 items at most by default.")
    on_failure: Literal["null", "zero", "raise"] = Field(
        "null",
        description="What `reward` is where there is no score: null, 0, or the whole request an error (424). "
        "The card of a release may fix it; saying otherwise is refused then.",
    )
    judge_mode: Literal["auto", "replay", "fresh"] | None = Field(
        None,
        description="Where the replies of judges come from: transcripts, then the model (auto); transcripts only "
        "(replay); the model only (fresh). Without it, what the service is set to. No other verifier heeds it.",
    )
    receipt: bool = Field(False, description="Whether the reply has a signed receipt of its verdicts.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        told = self.model_fields_set & {"verifier", "release", "task"}
        if told not in ({"verifier"}, {"release", "task"}):
            raise ValueError("give `verifier`, or `release` and `task`")
        return self


class SignatureSchema(_Request):
    """One signature of an envelope."""

    keyid: str
    sig: str = Field(description="Base64.")


class EnvelopeSchema(_Request):
    """A DSSE envelope around an in-toto Statement v1."""

    payload: str = Field(description="The statement, base64 of RFC 8785 JSON.")
    payloadType: str = Field(examples=["application/vnd.in-toto+json"])  # noqa: N815 - DSSE's own name
    signatures: list[SignatureSchema]


class LeafSchema(_Request):
    """What a receipt says of one item."""

    item: str = Field(description="SHA-256 of the verifier's 32 bytes and the canonical item.")
    outcome: Literal["scored", "no_answer", "bad_reference", "timeout", "error", "abstain"]
    score: Annotated[float, Field(ge=0, le=1)] | None
    verdict: str = Field(description="SHA-256 of RFC 8785 JSON of detail, outcome, score and surroundings.")


class ReceiptSchema(_Request):
    """A signed receipt of a batch."""

    envelope: EnvelopeSchema
    leaves: list[LeafSchema] = Field(
        description="One per item, in order; the statement has the root over them."
    )


class SingleReceiptSchema(_Request):
    """A signed receipt of one verdict of a batch."""

    envelope: EnvelopeSchema
    leaf: LeafSchema
    index: int = Field(description="Place of the item in its batch, from 0.")
    proof: list[str] = Field(description="Hashes, as hex, that lead from the leaf to the root (RFC 6962).")


class VerifyReceiptRequest(_Request):
    """A receipt to check, and what is to be held against it."""

    receipt: ReceiptSchema | SingleReceiptSchema
    items: list[ItemSchema] | None = Field(None, description="What was scored, in order.")
    verdicts: list[dict[str, Any]] | None = Field(
        None, description="The verdicts as they were replied, in order."
    )


class ReceiptFinding(_Shape):
    """Whether a receipt holds."""

    valid: bool
    code: str | None = Field(None, description="What is wrong, as a stable name; only where something is.")
    detail: str | None = Field(None, description="What is wrong, in a sentence.")
    key: str | None = Field(None, description="Id of the key that signed it.")
    verdicts: int | None = Field(None, description="Verdicts that it proves here: all of the batch, or one.")
    items_checked: bool | None = None
    verdicts_checked: bool | None = None
    statement: dict[str, Any] | None = Field(None, description="What was signed.")


class SigningKeySchema(_Shape):
    """A public key of this service."""

    keyid: str
    keytype: Literal["ed25519"]
    scheme: Literal["ed25519"]
    keyval: dict[str, str] = Field(description="`public`: 32 bytes as hex.")
    valid_from: str
    valid_until: str
    retired: str | None
    compromised: bool
    label: str


class SigningKeySet(_Shape):
    """Every key that signed, or signs, receipts of this service."""

    type: Literal["urn:countermark:signing-keys:v1"]
    keys: list[SigningKeySchema]


class VerifierInfo(_Shape):
    """The verifier that made some verdicts."""

    ref: str = Field(description="The pin: name, version and digest.")
    name: str
    version: str
    digest: str


class ReleaseInfo(_Shape):
    """The release, and the route of it, that some verdicts were made under."""

    ref: str = Field(description="Name, version and digest of the card.")
    name: str
    version: str
    digest: str
    task: str = Field(description="As the request said it.")
    on_failure: Literal["null", "zero", "raise"] = Field(description="What held for this reply.")


class AdvisorySchema(_Shape):
    """What became known of a verifier or release after it was published."""

    id: str
    subject: Literal["verifier", "release"]
    pin: str = Field(description="What it is about: the verifier, a child of it, or the release.")
    kind: Literal["yanked", "warning"]
    reason: str
    date: str
    replacement: str = Field("", description="What to use instead, where there is something.")
    url: str = ""


class VerdictSchema(_Shape):
    """What came out for one item."""

    id: str | int | None
    outcome: Literal["scored", "no_answer", "bad_reference", "timeout", "error", "abstain"]
    score: Annotated[float, Field(ge=0, le=1)] | None = Field(description="What the verifier said.")
    reward: float | None = Field(description="`score` after `on_failure`.")
    cached: bool = Field(description="True where it was not judged for this item.")
    detail: dict[str, Any] = Field(
        description="What the verifier found, or `code` and `message` of a failure."
    )
    surroundings: dict[str, str] = Field(description="Interpreter, platform and containment it was made in.")


class Stats(_Shape):
    """Figures of one request."""

    items: int
    cached: int
    failed: int
    seconds: float


class ScoreResponse(_Shape):
    """The verdicts of a batch, in the order of its items."""

    verifier: VerifierInfo
    verdicts: list[VerdictSchema]
    stats: Stats
    release: ReleaseInfo | None = Field(None, description="Only where the request named a release.")
    advisories: list[AdvisorySchema] = Field(
        [], description="What stands against the verifier or the release; only where there is something."
    )
    degraded: list[str] = Field(
        [], description="Codes of what did not work meanwhile; only where there are any."
    )
    receipt: ReceiptSchema | None = Field(None, description="Only where the request asked for it.")


class VerifierSummary(VerifierInfo):
    """One verifier of the list."""

    runtime: Literal["python", "sandbox", "judge", "composite"]
    summary: str


class BrokenVerifier(_Shape):
    """A bundle folder that cannot be used, and why."""

    ref: str
    code: str
    detail: str


class VerifierList(_Shape):
    """Every verifier of this service."""

    verifiers: list[VerifierSummary]
    broken: list[BrokenVerifier] = Field(
        description="Folders that cannot be used; asking for one is an error."
    )


class VectorSchema(_Shape):
    """A case with the verdict that it must get."""

    id: str
    item: dict[str, Any]
    expect: dict[str, Any]


class VerifierDetail(VerifierSummary):
    """All that a bundle says of itself."""

    description: str
    license: str
    source: str
    python: str | None
    uses_prompt: bool
    reduces: bool
    limits: dict[str, float]
    files: list[str]
    parameters: dict[str, Any] = Field(description="JSON Schema of an item's `params`.")
    runtime_table: dict[str, Any] | None = Field(
        description="The manifest's table for its runtime: `sandbox`, `judge` (messages, model, sampling, votes) or "
        "`composite` (children by pin, how they combine). Null for `python`, which has none."
    )
    vectors: list[VectorSchema]
    advisories: list[AdvisorySchema] = Field(
        [], description="What became known of this version, or of a child of it, after it was published."
    )


class ReleaseSummary(_Shape):
    """One registered release."""

    ref: str = Field(description="Name, version and digest of the card.")
    name: str
    version: str
    digest: str = Field(description="SHA-256 over the card's RFC 8785 form.")
    summary: str | None
    registered: str | None = Field(
        description="Since when, UTC; null for a card of the service's own folders."
    )
    grade: Literal["A", "B", "C", "D", "F"] = Field(description="How complete the card is.")
    tasks: list[str] = Field(description="Tasks that have a route.")


class ReleaseList(_Shape):
    """Every release of this service."""

    releases: list[ReleaseSummary]


class MissingSchema(_Shape):
    """Something that a card does not say."""

    field: str
    essential: bool
    missing: str
    why: str


class FactorGradeSchema(_Shape):
    """What a card says of one factor."""

    factor: str
    grade: Literal["A", "B", "C", "D", "F"]
    said: int
    asked: int
    not_applicable: str | None
    missing: list[MissingSchema]


class CompletenessSchema(_Shape):
    """How much a card says."""

    grade: Literal["A", "B", "C", "D", "F"] = Field(description="Of the weakest of the six factors.")
    factors: list[FactorGradeSchema]
    results: FactorGradeSchema


class ReleaseDetail(ReleaseSummary):
    """A release with its card."""

    card: dict[str, Any] = Field(description="As it was registered.")
    completeness: CompletenessSchema
    advisories: list[AdvisorySchema] = Field(description="What stands against the card or its verifiers.")


class Problem(_Shape):
    """Every error answer (RFC 9457), with more members where an error has values."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, with which value, and what to do.")
    code: str = Field(description="Stable name of the error.")


class SandboxState(_Shape):
    """What holds candidate programs."""

    level: Literal["namespaces", "landlock"] | None = Field(
        description="What was found; null before the first program, and where nothing held."
    )
    minimum: Literal["namespaces", "landlock"]
    available: bool | None = Field(description="Whether code verifiers can run; null before the first look.")
    reasons: list[str] = Field(description="Why nothing better holds.")


class Ready(_Shape):
    """Whether the service can score, and what it stands on."""

    status: Literal["ready", "degraded"]
    version: str
    verifiers: int
    containment: str
    sandbox: SandboxState
    store: dict[str, Any]
