"""What an audit comes to, in a table and in a few numbers; the report has the rest.

Everything is read from the work file, so a run that was taken up again says what
one that was never stopped would say. Scores of different pins stand side by side
and are never averaged together; the published mean is over the rows that have one.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from countermark_service.audit.run import Progress
from countermark_service.audit.wording import plural
from countermark_service.audit.work_file import WorkFile
from countermark_service.cli.tally import Tally


@dataclass
class AuditSummary:
    """The end of a run."""

    rows: int
    inputs: Sequence[dict[str, Any]]
    unusable: dict[str, int]
    """Rows and files that could not be used, by reason."""
    notes: dict[str, int]
    """Rows that a reader should know something of, by code."""
    told: dict[str, str]
    """What that is: the first message of each code."""
    """What else was noticed, by reason, with the rows that it is about."""
    published_rows: int
    published_mean: float | None
    tallies: Sequence[Tally]
    roles: Sequence[str]
    refused: Sequence[int]
    """Per verifier, the rows that it does not take."""
    why_refused: Sequence[str]
    """Per verifier, where the first of these stands and what is wrong with it; empty where there is none."""
    progress: Progress
    again: Sequence[str]
    """The command line that made the audit, which makes it again."""
    advisories: Sequence[str]
    """What became known of the verifiers after they were published."""
    files: list[str] = field(default_factory=list)
    headline: str = ""
    """What the audit comes to, in a sentence."""

    @classmethod
    def of(cls, work: WorkFile, progress: Progress) -> "AuditSummary":
        """Count what a work file holds."""
        verifiers = work.verifiers
        tallies = [
            Tally(one.pin, work.outcomes(pin), work.cached_count(pin), work.score_sum(pin))
            for pin, one in enumerate(verifiers)
        ]
        notes: dict[str, int] = {}
        told: dict[str, str] = {}
        for note in work.notes():
            notes[note.code] = notes.get(note.code, 0) + note.count
            told.setdefault(note.code, note.message)
        published_rows, published_mean = work.published()
        return cls(
            rows=work.row_count(),
            inputs=[
                {"path": one.path, "sha256": one.sha256, "format": one.format, "rows": one.rows}
                for one in work.inputs
            ],
            unusable=work.unusable_counts(),
            notes=notes,
            told=told,
            published_rows=published_rows,
            published_mean=published_mean,
            tallies=tallies,
            roles=[one.role for one in verifiers],
            refused=[work.refusal_count(pin) for pin in range(len(verifiers))],
            why_refused=[work.why_refused(pin) for pin in range(len(verifiers))],
            progress=progress,
            again=work.meta("command") or [],
            advisories=work.meta("advisories") or [],
        )

    @property
    def incomplete(self) -> bool:
        """Whether something that was given could not be used, or has no verdict of its verifier."""
        failed = sum(
            tally.outcomes[name] for tally in self.tallies for name in ("timeout", "error", "abstain")
        )
        return bool(self.unusable or "no_route" in self.notes or any(self.refused) or failed)

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "ok": not self.incomplete,
            "headline": self.headline,
            "rows": self.rows,
            "inputs": list(self.inputs),
            "unusable": self.unusable,
            "notes": self.notes,
            "published": {"rows": self.published_rows, "mean": self.published_mean},
            "verifiers": [
                {**tally.document(), "role": role, "refused": refused}
                for tally, role, refused in zip(self.tallies, self.roles, self.refused, strict=True)
            ],
            "verdicts_before": self.progress.before,
            "seconds": round(self.progress.seconds, 3),
            "degraded": sorted(self.progress.degraded),
            "advisories": list(self.advisories),
            "again": shlex.join(self.again),
            "files": self.files,
        }

    def parts(self) -> list[Any]:
        """Return what is shown to people: a table and sentences."""
        from countermark_service.cli.console import short_digest, table

        numbers = ("verdicts", "mean", "no answer", "bad ref.", "failed", "refused")
        shown = table("score", numbers=numbers)
        mean = "-" if self.published_mean is None else f"{self.published_mean:.4f}"
        shown.add_row("published", f"{self.published_rows}", mean, "", "", "", "")
        for tally, refused in zip(self.tallies, self.refused, strict=True):
            failed = sum(tally.outcomes[name] for name in ("timeout", "error", "abstain"))
            shown.add_row(
                f"{tally.pin.name}:{tally.pin.version}\n{short_digest(tally.pin.digest or '')}",
                f"{tally.items}",
                "-" if tally.mean is None else f"{tally.mean:.4f}",
                f"{tally.outcomes['no_answer']}",
                f"{tally.outcomes['bad_reference']}",
                f"{failed}",
                f"{refused}",
            )
        return [shown, *filter(None, [self.headline]), *self._sentences()]

    def _sentences(self) -> list[str]:
        formats = sorted({str(one["format"]) for one in self.inputs if one["rows"]})
        said = [
            f"{plural(self.rows, 'row')} ({', '.join(formats)}). A mean is over the rows that have a score."
        ]
        if self.unusable:
            counts = ", ".join(f"{count} {code}" for code, count in self.unusable.items())
            said.append(f"Not used: {counts}; unusable.jsonl has each with its reason.")
        said += [
            f"{tally.pin.name}:{tally.pin.version} does not take {plural(count, 'row')}; the first is {why}."
            for tally, count, why in zip(self.tallies, self.refused, self.why_refused, strict=True)
            if count
        ]
        said += [
            f"To know ({count} {code}): {self.told[code].rstrip('.')}." for code, count in self.notes.items()
        ]
        if self.progress.degraded:
            said.append(
                f"Meanwhile: {', '.join(sorted(self.progress.degraded))}; that cost time, no verdicts."
            )
        return said
