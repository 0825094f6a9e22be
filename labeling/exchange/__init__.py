"""Imports and exports rankings: JSON lines, tables, Label Studio's exports, datasets on an Argilla server.

Readers (`forms`) turn parsed rows into votes, `labeling.votes.pool` turns votes into rankings. Unusable rows are left
out and counted; nothing is written if the file seems to be misread.
"""

from labeling.exchange.columns import UNMAPPED, Columns, annotator_columns
from labeling.exchange.files import WRITABLE, read, write
from labeling.exchange.forms import FORMS, form_of, read_rows
from labeling.exchange.outcome import Outcome
from labeling.exchange.reading import Fault, Reading, Unusable

__all__ = [
    "FORMS",
    "UNMAPPED",
    "WRITABLE",
    "Columns",
    "Fault",
    "Outcome",
    "Reading",
    "Unusable",
    "annotator_columns",
    "form_of",
    "read",
    "read_rows",
    "write",
]
