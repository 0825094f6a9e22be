"""Rankings in and out: the contract's JSON lines, tables, Label Studio's export, datasets on an Argilla server.

Every reader makes *judgements* (what one annotator said about one prompt), `judgements.merge` makes rankings of them.
All faults of a file are reported at once, and nothing is written unless all of it could be read.
"""

from labeling.exchange.columns import Columns
from labeling.exchange.faults import Faults
from labeling.exchange.files import FORMATS, WRITABLE, format_of, read, write

__all__ = ["FORMATS", "WRITABLE", "Columns", "Faults", "format_of", "read", "write"]
