"""Kernel: what the first bytes of a file say it is, whatever its name says."""

from __future__ import annotations

import re

__all__ = ["SAMPLE_BYTES", "foreign_format"]

SAMPLE_BYTES = 1024
"""How much of the beginning `foreign_format` wants to see."""

_BINARY = (
    (b"\x1f\x8b", "compressed by gzip: let its name end in .gz"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook: save the sheet as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it (zstd -d)"),
    (b"BZh", "compressed by bzip2: decompress it (bunzip2)"),
    (b"\xfd7zXZ\x00", "compressed by xz: decompress it (unxz)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"%PDF-", "a PDF document: it holds no table that could be read"),
    (b"PAR1", "a Parquet file: let its name end in .parquet"),
    (b"ARROW1", "a Feather file: save it as Parquet"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: let its name end in .h5ad, if AnnData wrote it"),
    (b"\x93NUMPY", "a NumPy array: let its name end in .npy"),
    (b"\x89PNG", "a PNG picture"),
    # UTF-32 before UTF-16, whose mark it begins with.
    (b"\xff\xfe\x00\x00", "UTF-32 text: convert it with iconv -f utf-32 -t utf-8"),
    (b"\x00\x00\xfe\xff", "UTF-32 text: convert it with iconv -f utf-32 -t utf-8"),
    (b"\xff\xfe", "UTF-16 text: convert it with iconv -f utf-16 -t utf-8"),
    (b"\xfe\xff", "UTF-16 text: convert it with iconv -f utf-16 -t utf-8"),
)

_TEXT = (
    (rb"<(!doctype\s+html|html|head|body)\b", "an HTML page: was it downloaded whole, logged in?"),
    (rb"<\?xml|<svg\b|<error>", "an XML document: was it downloaded whole, logged in?"),
    (rb'\{\s*["}]|\[\s*[\[{"\]]', "JSON: convert it to CSV"),
    (
        rb"version https://git-lfs",
        "the pointer of Git LFS, not the file it stands for: fetch that with git lfs pull",
    ),
    (rb"%%MatrixMarket", "a MatrixMarket file, which is not read: convert it to .h5ad or .npy"),
    (rb"#1\.[23]\s", "a GCT file: remove its first two lines and its column of descriptions"),
)

_TAR = (257, b"ustar")


def foreign_format(first: bytes) -> str | None:
    """Say what a file that should be a table of text is instead, and what to do; None if it may be.

    Parameters
    ----------
    first
        Its first `SAMPLE_BYTES`, decompressed.

    Examples
    --------
    >>> foreign_format(b"PAR1...")
    'a Parquet file: let its name end in .parquet'
    >>> foreign_format(b"gene,a,b") is None
    True
    """
    if first.startswith(b"PK\x03\x04") and re.search(rb"xl/|\[Content_Types\]|workbook", first):
        return "an Excel workbook: save the sheet as CSV"
    for signature, what in _BINARY:
        if first.startswith(signature):
            return what
    if first[_TAR[0] :].startswith(_TAR[1]):
        return "a tar archive: unpack it"
    begin = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, what in _TEXT:
        if re.match(pattern, begin, re.IGNORECASE):
            return what
    if b"\x00" in begin.split(b"\n", 1)[0]:
        return (
            "not text: its first line holds NUL characters. If it is UTF-16, convert it with "
            "iconv -f utf-16le -t utf-8"
        )
    return None
