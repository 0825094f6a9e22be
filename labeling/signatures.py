"""What files that hold no plain text begin with, and the way to something that can be read."""

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ZIP = b"PK\x03\x04"  # also a spreadsheet
PARQUET, ARROW = b"PAR1", b"ARROW1"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")

_WAYS_OUT = {
    GZIP: "It is compressed with gzip: unpack it with `gunzip`.",
    ZSTD: "It is compressed with zstd: unpack it with `unzstd`.",
    ZIP: "It is a spreadsheet or a zip file: save it as CSV in UTF-8.",
    PARQUET: "It is a parquet file: write it as .jsonl or .csv.",
    **dict.fromkeys(UTF_16, "It looks like UTF-16: save it in UTF-8, for example with `iconv -f UTF-16 -t UTF-8`."),
}


def way_out(head: bytes) -> str:
    """What a file is that begins with these bytes and what to do with it; empty where they tell nothing."""
    return next((way for signature, way in _WAYS_OUT.items() if head.startswith(signature)), "")
