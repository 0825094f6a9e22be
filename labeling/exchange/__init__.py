"""Rankings in and out: the contract's JSON lines, tables, Label Studio's exports, datasets on an Argilla server.

Readers (`forms`) turn parsed rows into votes, `labeling.votes.pool` turns votes into rankings. A row that cannot be
used is left out and counted; nothing is written if the file seems to be read wrong.
"""

from labeling.exchange.columns import AS_THEY_ARE, Columns, judge_columns
from labeling.exchange.files import WRITABLE, read, write
from labeling.exchange.forms import FORMS, form_of, read_rows
from labeling.exchange.outcome import Outcome
from labeling.exchange.reading import Fault, Reading, Unusable

__all__ = [
    "AS_THEY_ARE",
    "FORMS",
    "WRITABLE",
    "Columns",
    "Fault",
    "Outcome",
    "Reading",
    "Unusable",
    "form_of",
    "judge_columns",
    "read",
    "read_rows",
    "write",
]
