"""The real parts of judging, joined for a test: registry, scorer, stores, asker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from countermark_service.judge import Asker, Endpoint, JudgeMode, ProbeBook
from countermark_service.model import Item, Verdict
from countermark_service.registry import Registry
from countermark_service.remembered import Scored
from countermark_service.runtimes import Children, CompositeRuntime, JudgeRuntime, Runtime
from countermark_service.scoring import Scorer
from countermark_service.store import MemoryStore, SqliteStore, TieredStore
from tests.integration.judge.scripted import ScriptedJudge
from tests.support import REPOSITORY

MODEL = "Qwen/Qwen2.5-7B-Instruct"
EQUIVALENCE = "judge/equivalence:1.4.0"
FAST = {
    "connect_seconds": 5.0, "timeout_seconds": 5.0, "deadline_seconds": 10.0, "backoff_seconds": 0.002,
    "backoff_most_seconds": 0.01, "probe": "never",
}  # fmt: skip


@dataclass
class Judging:
    """One scorer with judges."""

    server: ScriptedJudge | None
    data: Path
    mode: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the endpoint."""
    roots: Sequence[Path] = (REPOSITORY / "verifiers",)
    probes: ProbeBook | None = None
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    """Runtimes besides judge and composite."""
    on_disk: bool = True
    started: bool = False

    @cached_property
    def endpoint(self) -> Endpoint | None:
        """Where the shipped judges' model answers."""
        if self.server is None:
            return None
        return Endpoint.model_validate({"model": MODEL, "base_url": self.server.url, **FAST, **self.options})

    @cached_property
    def asker(self) -> Asker:
        """What asks."""
        self.data.mkdir(parents=True, exist_ok=True)
        endpoints = {} if self.endpoint is None else {MODEL: self.endpoint}
        store = TieredStore(SqliteStore(self.data / "transcripts.sqlite") if self.on_disk else MemoryStore())
        return Asker(endpoints, store, mode=JudgeMode(self.mode), probes=self.probes)

    @cached_property
    def scorer(self) -> Scorer:
        """What scores."""
        children = Children()
        runtimes: dict[str, Runtime] = {
            **self.runtimes, "judge": JudgeRuntime(self.asker), "composite": CompositeRuntime(children),
        }  # fmt: skip
        store = TieredStore(SqliteStore(self.data / "verdicts.sqlite") if self.on_disk else MemoryStore())
        scorer = Scorer(_registry(tuple(self.roots)), runtimes, store)
        children.fill(scorer)
        return scorer

    async def scored(self, items: Sequence[Item], ref: str = EQUIVALENCE) -> list[Scored]:
        """Score items; each comes with whether it was there already."""
        if not self.started:
            await self.scorer.store.start()
            self.started = True
        return (await self.scorer.score_batch(self.scorer.resolve(ref), items))[0]

    async def verdicts(self, items: Sequence[Item], ref: str = EQUIVALENCE) -> list[Verdict]:
        """Score items."""
        return [verdict for verdict, _ in await self.scored(items, ref)]

    async def verdict(self, item: Item, ref: str = EQUIVALENCE) -> Verdict:
        """Score one item."""
        return (await self.verdicts([item], ref))[0]

    async def close(self) -> None:
        """Write and close everything."""
        if "scorer" in self.__dict__:
            await self.__dict__.pop("scorer").close()


@cache
def _registry(roots: tuple[Path, ...]) -> Registry:
    """Read bundles once; a registry never changes."""
    return Registry(list(roots))


def item(answer: str = "\\boxed{12}", reference: Any = "a dozen", prompt: str | None = "How many?") -> Item:
    """Return an item for `judge/equivalence`."""
    return Item(answer, reference, {}, prompt)


def write_judge(
    root: Path, table: str, *, name: str = "judge/subject", uses_prompt: bool = False, rules: int = 1
) -> str:
    """Write a judge bundle with the rest of its `[judge]` table below `root`; return its reference."""
    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "verifier.toml").write_text(
        f"""name = "{name}"
version = "1.0.0"
summary = "A judge of the tests"
protocol = 1
runtime = "judge"
uses_prompt = {str(uses_prompt).lower()}
files = ["verifier.toml", "vectors.jsonl"]
[judge]
rules = {rules}
model = "{MODEL}"
{table}
"""
    )
    (folder / "vectors.jsonl").touch()
    return f"{name}:1.0.0"
