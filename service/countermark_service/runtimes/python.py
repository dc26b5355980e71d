"""Bundles with code of their own, judged in worker processes."""

from collections.abc import Sequence

from countermark_service.bundles import Bundle
from countermark_service.engine.pool import Failed, Pool, Result
from countermark_service.engine.wire import Judged, Reduced
from countermark_service.model import Outcome, Verdict
from countermark_service.runtimes.interface import OnReduction, OnVerdict

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class PythonRuntime:
    """Judges items of `python` bundles in a `Pool`. A `Runtime`."""

    def __init__(self, pool: Pool) -> None:
        """`pool` becomes this object's to close."""
        self.pool = pool

    async def prepare(self, bundle: Bundle) -> None:
        """Build the environment and load the verifier; see `Runtime`."""
        await self.pool.ready(bundle)

    def reduces(self, bundle: Bundle) -> bool:
        """True where the manifest names a `reduce`."""
        return bundle.manifest.reduce is not None

    async def reduce(self, bundle: Bundle, payloads: Sequence[bytes], on_reduction: OnReduction) -> None:
        """Run the bundle's `reduce`; an item on which it fails has no reduction."""

        def take(index: int, result: Result) -> None:
            key = result.key if isinstance(result, Reduced) else None
            on_reduction(index, None if key is None else key.encode())

        await self.pool.run(bundle, "reduce", payloads, take)

    async def verify(self, bundle: Bundle, payloads: Sequence[bytes], on_verdict: OnVerdict) -> None:
        """Run the bundle's `verify`; see `Runtime`."""
        surroundings = bytes(await self.pool.ready(bundle))

        def take(index: int, result: Result) -> None:
            if isinstance(result, Judged):
                verdict = Verdict.made(
                    _OUTCOMES[result.outcome], result.score, bytes(result.detail), surroundings
                )
            elif isinstance(result, Failed):
                verdict = Verdict.failure(
                    _OUTCOMES[result.outcome], result.code, result.message, surroundings
                )
            else:
                raise TypeError(f"a verify run reported {type(result).__name__}")
            on_verdict(index, verdict)

        await self.pool.run(bundle, "verify", payloads, take, admitted=self.reduces(bundle))

    async def close(self) -> None:
        """End every worker."""
        await self.pool.close()
