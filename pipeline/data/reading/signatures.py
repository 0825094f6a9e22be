"""Recognises files without text by their first bytes, and refuses them with a hint how to convert them."""

import re
from pathlib import Path

from labeling.signatures import ARROW, PARQUET
from pipeline.errors import RequestError

HEAD_BYTES = 4096

_MOST_CONTROLS = 0.05
_CONTROLS = bytes({*range(9), *range(14, 27), *range(28, 32)})  # tab, line ends and escape belong to text

_FOREIGN = (
    (rb"BZh[1-9]1AY", "is compressed with bzip2", "Unpack it with `bunzip2`."),
    (rb"\xfd7zXZ\0", "is compressed with xz", "Unpack it with `unxz`."),
    (rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd", "is compressed twice", "Unpack it once, with `gunzip` or `unzstd`."),
    (rb"7z\xbc\xaf\x27\x1c", "is a 7z archive", "Unpack it with `7z x`, then name the files in it."),
    (
        rb"PK\x03\x04.{26}(\[Content_Types|_rels|docProps|xl/|word/)",
        "is an Excel or Word file",
        "Save it as CSV UTF-8.",
    ),
    (rb"PK\x03\x04.{26}[^\0]{0,99}data\.pkl", "is a PyTorch file", "Write its rows as JSON lines."),
    (rb"PK[\x03\x05]", "is a zip archive", "Unpack it with `unzip`, then name the files in it."),
    (rb".{257}ustar", "is a tar archive", "Unpack it with `tar -xf`, then name the files in it."),
    (rb"\xd0\xcf\x11\xe0", "is an old Excel or Word file", "Save it as CSV UTF-8."),
    (rb"\x80[\x02-\x05][\x95\]}(cKXq]", "is a Python pickle, which is never opened", "Write its rows as JSON lines."),
    (rb"SQLite format 3\0", "is an SQLite database", "Export a table with `sqlite3 -json`."),
    (rb"\x93NUMPY", "is a NumPy array", "Write its rows as JSON lines."),
    (rb"\x89HDF", "is an HDF5 file", "Write its rows as JSON lines or parquet."),
    (rb"Obj\x01", "is an Avro file", "Write its rows as JSON lines or parquet."),
    (rb"ORC[\0-\x08\x80-\xff]", "is an ORC file", "Write it as parquet."),
    (rb"(?=.{0,7}\0).{8}\{\"", "is a safetensors file", "Name a file with text."),
    (rb"%PDF-", "is a PDF", "Write its text as .txt, for example with `pdftotext`."),
    (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP", "is an image", "Name a file with text."),
    (rb"\x7fELF|MZ\x90", "is a program", "Name a file with text."),
)


def is_columnar(head: bytes) -> bool:
    """Whether a file that begins with these bytes is parquet or Arrow, as a file or as a stream."""
    return head.startswith((PARQUET, ARROW)) or re.match(rb"\xff\xff\xff\xff.{2}\0\0", head, re.DOTALL) is not None


def refuse_foreign(file: Path, head: bytes) -> None:
    """Raise RequestError if the first (unpacked) bytes are those of a file without text."""
    for pattern, what, way_out in _FOREIGN:
        if re.match(pattern, head, re.DOTALL):
            raise RequestError(f"{file} {what}. {way_out}")


def refuse_binary(file: Path, head: bytes) -> None:
    """Raise RequestError if too many of the first bytes are control characters, which text does not have."""
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > _MOST_CONTROLS * len(head):
        raise RequestError(
            f"{file} is neither text nor parquet ({controls} of its first {len(head)} bytes are control characters). "
            "Write its rows as JSON lines, CSV or parquet."
        )
