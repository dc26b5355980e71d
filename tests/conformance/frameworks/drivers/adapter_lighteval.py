"""Computes the metric for lighteval as its pipeline does.

lighteval's package imports torch for its other metrics, so its own modules for metrics, documents and responses are
loaded without them: whole where nothing else is in the way, and out of theirs the base classes and `apply_metric`.
"""

import ast
import os
import sys
import types
from pathlib import Path
from typing import Any

from asking import attempt, paste, say, told  # type: ignore[import-not-found]

LIGHTEVAL = next(folder for path in sys.path if (folder := Path(path) / "lighteval").is_dir())


def module(name: str, file: str | None = None, take: tuple[str, ...] = ()) -> types.ModuleType:
    """Put a module in place: a package whose own code is not run, or some definitions of a file."""
    made = types.ModuleType(name)
    made.__path__ = [str(LIGHTEVAL.parent / name.replace(".", "/"))]
    sys.modules[name] = made
    if file is not None:
        tree = ast.parse((LIGHTEVAL / file).read_text())
        tree.body = [node for node in tree.body if getattr(node, "name", None) in take]
        for node in ast.walk(tree):  # what annotations name is not there
            if isinstance(node, ast.arg):
                node.annotation = None
        made.__dict__.update(ABC=__import__("abc").ABC, abstractmethod=__import__("abc").abstractmethod)
        exec(compile(tree, file, "exec"), made.__dict__)
    return made


for name in ("lighteval", "lighteval.models", "lighteval.tasks", "lighteval.metrics.utils"):
    module(name)
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].Tensor = object  # type: ignore[attr-defined]
APPLY = module("lighteval.metrics", "metrics/__init__.py", ("apply_metric",)).apply_metric
module("lighteval.metrics.metrics_sample", "metrics/metrics_sample.py", ("SampleLevelComputation",))
module("lighteval.metrics.metrics_corpus", "metrics/metrics_corpus.py", ("CorpusLevelComputation",))

from lighteval.models.model_output import ModelResponse  # type: ignore[import-not-found]  # noqa: E402
from lighteval.tasks.requests import Doc  # type: ignore[import-not-found]  # noqa: E402

from countermark.adapters.lighteval import metric  # noqa: E402


def doc(golds: list[str], **specific: Any) -> Doc:
    """Return a document."""
    return Doc(query="?", choices=golds, gold_index=list(range(len(golds))), specific=specific or None)


def computed(one: Any, docs: list[Doc], texts: list[list[str]]) -> Any:
    """Return the values of every document and their mean, as the pipeline gets them."""
    responses = [ModelResponse(text=text) for text in texts]
    values = [output[one.metric_name] for output in APPLY(responses=responses, docs=docs, metrics=[one])]
    corpus = one.get_corpus_aggregations()[one.metric_name](values)
    return {"values": ["nan" if value != value else value for value in values], "mean": corpus}


def main() -> None:
    """Compute everything."""
    facts = told()
    verifier, rows = facts["verifier"], facts["rows"]
    docs = [doc([row["reference"]]) for row in rows]
    texts = [[row["response"]] for row in rows]
    (one,) = paste(facts["page"])["metrics"]
    alone = one.sample_level_fn.compute(doc=docs[0], model_response=ModelResponse(text=texts[0]))
    said = {
        "rows": computed(one, docs, texts),
        "raise": attempt(lambda: computed(metric(verifier, on_failure="raise"), docs, texts)),
        "several_golds": computed(one, [doc(["Rome", "Paris"]), doc(["Rome", ""])], [["Paris"], ["Paris"]]),
        "several_texts": computed(one, [docs[0]], [["Paris", "Rome"]]),
        "in_specific": computed(
            metric(gold="gold"), [doc([""], gold="Paris", verifier=verifier)], [["Paris"]]
        ),
        "alone": alone,
    }
    os.environ["COUNTERMARK_URL"] = facts["hung"]
    said["hung"] = attempt(lambda: computed(metric(verifier, deadline=1.0), docs, texts))
    say(said)


main()
