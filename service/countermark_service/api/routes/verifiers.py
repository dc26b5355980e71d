"""Which verifiers are here, and what each says of itself."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path

from countermark_service.api.dependencies import ScoringDep
from countermark_service.api.document import KEYS, problems
from countermark_service.api.replies import verifier_of
from countermark_service.api.schemas import VerifierDetail, VerifierList
from countermark_service.bundles import Bundle

router = APIRouter(prefix="/v1/verifiers", tags=["verifiers"])

_REFUSALS = problems(
    {
        400: "Not a reference, or one without a version (the versions are in `versions`)",
        **KEYS,
        404: "Not here",
        409: "The pin, or what was published, does not match the bundle",
    }
)


@router.get("", summary="List the verifiers", responses=problems(KEYS))
async def verifiers(parts: ScoringDep) -> VerifierList:
    """Every verifier with its digest, and the folders that cannot be used."""
    registry = parts.service.scorer.registry
    broken = [{"ref": ref, "code": exc.code, "detail": str(exc)} for ref, exc in registry.broken.items()]
    return VerifierList.model_validate(
        {"verifiers": [_summary(bundle) for bundle in registry], "broken": broken}
    )


@router.get("/{ref:path}", summary="Show one verifier", responses=_REFUSALS)
async def verifier(
    ref: Annotated[str, Path(examples=["math-verify:0.9.0-r2"])], parts: ScoringDep
) -> VerifierDetail:
    """Manifest, digest, schema of the parameters, vectors and advisories of one version."""
    scorer = parts.service.scorer
    bundle = scorer.resolve(ref)
    manifest = bundle.manifest
    return VerifierDetail.model_validate(
        {
            **_summary(bundle),
            **manifest.model_dump(include={"description", "license", "source", "python", "uses_prompt"}),
            "reduces": manifest.reduce is not None,
            "limits": manifest.limits.model_dump(),
            "files": list(manifest.files),
            "parameters": manifest.parameters_schema(),
            "runtime_table": manifest.runtime_table(),
            "vectors": msgspec.to_builtins(bundle.vectors),
            "advisories": [one.document() for one in scorer.advisories_of(bundle)],
        }
    )


def _summary(bundle: Bundle) -> dict[str, Any]:
    return {**verifier_of(bundle), "runtime": bundle.manifest.runtime, "summary": bundle.manifest.summary}
