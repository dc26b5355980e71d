"""Which releases are registered here, and registering one."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from countermark_service.api.dependencies import AdminDep, ScoringDep
from countermark_service.api.document import KEYS, problems
from countermark_service.api.examples import CARD
from countermark_service.api.intake import JSON_TYPES, read_body, require_type
from countermark_service.api.schemas import ReleaseDetail, ReleaseList, ReleaseSummary
from countermark_service.errors import CountermarkError
from countermark_service.releases import Registered, grade_card, read_release
from countermark_service.scoring import Scorer

router = APIRouter(prefix="/v1/releases", tags=["releases"])

_REFUSALS = problems(
    {
        400: "Not the name of a release, or one without a version (the versions are in `versions`)",
        **KEYS,
        404: "Not registered here",
        409: "The digest is not that of the card",
    }
)
_REGISTER_REFUSALS = problems(
    {
        **KEYS,
        404: "A verifier of the card is not here",
        409: "Another card has this name and version, or a pin does not match the bundle here",
        413: "The card is too large",
        415: "Not JSON",
        422: "Not a card, a verifier without digest, or parameters that its verifier does not take",
        503: "The data folder cannot be written",
    }
)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/ReleaseCard"}, "example": CARD}
        },
    }
}


@router.get("", summary="List the releases", responses=problems(KEYS))
async def releases(parts: ScoringDep) -> ReleaseList:
    """Every registered release with the digest of its card."""
    book = parts.service.releases
    return ReleaseList.model_validate({"releases": [_summary(one) for one in book.all()]})


@router.post(
    "",
    summary="Register a release",
    status_code=201,
    response_model=ReleaseSummary,
    responses={
        200: {"model": ReleaseSummary, "description": "It was registered already"},
        **_REGISTER_REFUSALS,
    },
    openapi_extra=_BODY,
)
async def register(request: Request, response: Response, parts: AdminDep) -> ReleaseSummary:
    """The body is the card. Once registered, a name and version keeps its card: the same again is answered
    with 200, another with 409."""
    require_type(request, JSON_TYPES)
    service = parts.service
    release = read_release(await read_body(request, service.body_limit), file="the card")
    service.scorer.check_release(release)
    registered, new = service.releases.register(release)
    if not new:
        response.status_code = 200
    return ReleaseSummary.model_validate(_summary(registered))


@router.get("/{ref:path}", summary="Show one release", responses=_REFUSALS)
async def release(
    ref: Annotated[str, Path(examples=["my-lab/sums:1.0"])], parts: ScoringDep
) -> ReleaseDetail:
    """The card, how complete it is, and what stands against it."""
    found = parts.service.releases.find(ref)
    return ReleaseDetail.model_validate(
        {
            **_summary(found),
            "card": dict(found.release.document),
            "completeness": grade_card(found.release.card).document(),
            "advisories": _advisories(parts.service.scorer, found),
        }
    )


def _summary(one: Registered) -> dict[str, Any]:
    card = one.release.card
    return {
        "ref": str(one.release.ref),
        "name": card.name,
        "version": card.version,
        "digest": one.release.digest,
        "summary": card.summary,
        "registered": one.since or None,
        "grade": grade_card(card).grade,
        "tasks": [route.task for route in card.verifier.routes],
    }


def _advisories(scorer: Scorer, one: Registered) -> list[dict[str, str]]:
    """Return what stands against the card and the verifiers of its routes."""
    found = {each.id: each for each in scorer.advisories.about((one.release.digest,))}
    for route in one.release.card.verifier.routes:
        try:
            about = scorer.advisories_of(scorer.registry.resolve(route.ref))
        except CountermarkError:  # a verifier that went away: its own digest is all that is known of it
            about = scorer.advisories.about((route.ref.digest or "",))
        found |= {each.id: each for each in about}
    return [each.document() for each in found.values()]
