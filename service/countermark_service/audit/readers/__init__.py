"""One file per format of published outputs; `intake` goes through these lists in order.

Document formats look first, since a document on one line looks like a line of
records. The last record format takes whatever has columns.
"""

from collections.abc import Sequence

from countermark_service.audit.readers.every_eval_ever import EveryEvalEver
from countermark_service.audit.readers.helm import Helm
from countermark_service.audit.readers.inspect_log import InspectArchive, InspectJson
from countermark_service.audit.readers.interface import DocumentReader, RecordReader
from countermark_service.audit.readers.lighteval import LightEval
from countermark_service.audit.readers.lm_eval import LmEval
from countermark_service.audit.readers.opencompass import OpenCompass, OpenCompassLines
from countermark_service.audit.readers.tables import MathHarness, OpenR1, Table
from countermark_service.audit.readers.verl import Verl

DOCUMENTS: Sequence[type[DocumentReader]] = (InspectArchive, InspectJson, Helm, OpenCompass)
RECORDS: Sequence[type[RecordReader]] = (
    LmEval, LightEval, EveryEvalEver, Verl, OpenCompassLines, OpenR1, MathHarness, Table,
)  # fmt: skip

__all__ = ["DOCUMENTS", "RECORDS"]
