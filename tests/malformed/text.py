"""Tables of text that are none: what is in the cells, how lines are cut, what the bytes are."""

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .case import Case, bytes_file, frame

TABLE = frame().to_csv().encode()
MEMBER = gzip.compress(b"0" * 2**26)
"""64 MB of zeros, as 64 kB."""


def table(name, content, says, *options, suffix=".csv"):
    """A case of one file, whose cells are wrong."""
    content = content.encode() if isinstance(content, str) else content
    input = f"b{suffix}"
    return Case(
        name=f"text-{name}", input=input, says=says, write=bytes_file(input, content),
        options=options,
    )  # fmt: skip


def one_cell(cell):
    """A table whose cell in row h, column b is wrong."""
    return f"x,a,b\ng,1,2\nh,3,{cell}\ni,4,5\n"


def zip_of(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def bomb(folder: Path) -> None:
    """10 GB of zeros in one line, in 10 MB."""
    with open(folder / "b.csv.gz", "wb") as file:
        file.write(gzip.compress(b"x,a,b\ng,1,2\n"))
        for _ in range(160):
            file.write(MEMBER)


def long_line(folder: Path) -> None:
    """1 GB without an end of line; the file takes no place on the disk."""
    with open(folder / "b.csv", "wb") as file:
        file.write(b"x,a,b\ng,1,2\n")
        file.truncate(2**30)


def long_header(folder: Path) -> None:
    with open(folder / "b.csv", "wb") as file:
        file.write(b"x,a,b")
        file.write(b"c" * 100_000_000)


def quote_never_closed(folder: Path) -> None:
    """A quoted field may hold ends of lines, so all that follows belongs to it."""
    with open(folder / "b.csv", "wb") as file:
        file.write(b'x,a,b\n"g,1,2\n' + (b"h" * 100 + b",1,2\n") * 700_000)


def wide_rows(folder: Path) -> None:
    """A row that is much longer than the first one."""
    with open(folder / "b.csv", "wb") as file:
        file.write(b"x,a\ng,1\n" + b"h" * 20_000_000 + b",1\n")


def wide(n_columns):
    """A header and a row."""
    header = "x," + ",".join(f"a{i}" for i in range(n_columns)) + "\n"
    return (header + "g" + ",1" * n_columns + "\n").encode()


NOT_A_NUMBER = r"b\.csv: '{}' in column 'b', row 'h' \(row 2 below the header\) is not a number"

CELLS = [
    ("word", "hello", NOT_A_NUMBER.format("hello")),
    ("decimal-comma", '"1,5"', NOT_A_NUMBER.format("1,5") + ".*decimal comma"),
    ("thousands", '"1,234,567"', NOT_A_NUMBER.format("1,234,567")),
    ("hexadecimal", "0x1F", NOT_A_NUMBER.format("0x1F")),
    ("date", "2024-01-31", NOT_A_NUMBER.format("2024-01-31")),
    ("percent", "12%", NOT_A_NUMBER.format("12%")),
    ("currency", "$3.50", NOT_A_NUMBER.format(r"\$3\.50")),
    ("underscores", "1_000", NOT_A_NUMBER.format("1_000")),
    ("complex", "1+2j", NOT_A_NUMBER.format(r"1\+2j")),
    ("two-points", "1.2.3", NOT_A_NUMBER.format(r"1\.2\.3")),
    ("formula", "=A1+1", NOT_A_NUMBER.format(r"=A1\+1")),
    ("boolean", "true", NOT_A_NUMBER.format("true")),
    ("exponent-only", "1e", NOT_A_NUMBER.format("1e")),
    ("other-digits", "٣", NOT_A_NUMBER.format("٣")),
    ("minus-sign-of-typesetters", "−1", NOT_A_NUMBER.format("−1")),
    ("no-break-space", "1\u00a0000", r"b\.csv: .*in column 'b', row 'h'.*is not a number"),
    ("excel-error", "#DIV/0!", NOT_A_NUMBER.format("#DIV/0!")),
    ("question-mark", "?", NOT_A_NUMBER.format(r"\?")),
    ("sas-missing", ".", NOT_A_NUMBER.format(r"\.")),
    ("quoted-newline", '"1\n2"', r"b\.csv: .*column 'b', row 'h'.*is not a number"),
    ("control-characters", "\x1b[31mred\x07", r"b\.csv: .*x1b\[31mred.*column 'b', row 'h'"),
    ("nul", "1\x002", r"b\.csv: .*column 'b', row 'h'.*is not a number"),
    ("a-megabyte", "9x" * 500_000, r"b\.csv: '9x9x.{0,100}\.\.\.' in column 'b', row 'h'"),
]

VALUES = [
    ("nan", "nan", "'h'"),
    ("empty", "", "'h'"),
    ("NA", "NA", "'h'"),
    ("inf", "inf", "1 infinite.*'h'"),
    ("minus-infinity", "-Infinity", "1 infinite.*'h'"),
    ("1e999", "1e999", "1 infinite.*'h'|1e999.*row 'h'"),
]

LAST = frame(700, 5)
LAST.iloc[-1, -1] = np.nan
ROW, COLUMN = frame(), frame()
ROW.iloc[3] = np.nan
COLUMN["s2"] = np.nan

CASES = [
    *(table(f"cell-{name}", one_cell(cell), says) for name, cell, says in CELLS),
    *(
        table(f"value-{name}", one_cell(cell), rf"must contain only finite values.*{says}")
        for name, cell, says in VALUES
    ),
    table("nan-in-the-last-cell", LAST.to_csv(), "1 values are NaN.*'g699'"),
    table("row-all-nan", ROW.to_csv(), "5 values are NaN.*'g3'"),
    table("column-all-nan", COLUMN.to_csv(), "12 values are NaN"),
    table("column-all-nan-rows-not-clustered", COLUMN.to_csv(), "NaN.*'s2'", "--no-row-cluster"),
    table("every-value-nan", "x,a,b\ng,,\nh,,\n", "4 values are NaN"),
    table("row-too-long", "x,a,b\ng,1,2\nh,1,2,3\n", r"b\.csv.*row 2 below the header.*'h.*4.*3"),
    table("row-too-short", "x,a,b\ng,1,2\nh,1\n", r"b\.csv.*row 2 below the header.*'h.*2.*3"),
    table("last-row-cut-off", TABLE[:-30], r"b\.csv.*row 12 below the header.*g11"),
    table("trailing-delimiter", "x,a,b\ng,1,2\nh,1,2,\n", r"b\.csv.*row 2 below the header"),
    table("mixed-delimiters", "x,a,b\ng,1,2\nh;1;2\n", r"b\.csv.*row 2 below the header.*1.*3"),
    table("comment-lines", "x,a,b\ng,1,2\n# a comment\n", r"b\.csv.*row 2 below.*# a comment"),
    table("two-tables", TABLE + b"\n" + frame(3, 2).to_csv().encode(), r"b\.csv.*row 13 below"),
    table("title-above-the-header", b"My data\n" + TABLE, r"b\.csv.*header.*'My data'"),
    table("empty", b"", r"b\.csv is empty"),
    table("one-end-of-line", b"\n", r"b\.csv is empty"),
    table("only-blank-lines", b"\n\n  \n\n", r"b\.csv (is empty|has no column)"),
    table("only-a-byte-order-mark", b"\xef\xbb\xbf", r"b\.csv is empty"),
    table("only-a-header", "x,a,b\n", r"b\.csv has a header and no rows"),
    table("header-and-blank-lines", "x,a,b\n\n\n", r"b\.csv has a header and no rows"),
    table("only-labels", "x\ng\nh\n", r"b\.csv has no column of numbers"),
    table("labels-of-rows-left-out", "a,b\n1,2\n3,4\n", r"one column only", "--no-row-cluster"),
    table("one-row", "x,a,b\ng,1,2\n", "one row only.*--no-row-cluster"),
    table("one-column", "x,a\ng,1\nh,2\n", "one column only.*--no-col-cluster"),
    table("one-row-columns-wanted", "x,a\ng,1\n", "one column only", "--no-row-cluster"),
    table("spaces-between", "x  a  b\ng  1  2\n", r"b\.csv has no column of numbers.*separated"),
    table("fixed-width-bars", "x|a|b\ng|1|2\n", r"b\.csv has no column of numbers.*separated"),
    table("tsv-called-csv-with-a-comma", "x\ta,1\tb\ng\t1\t2\n", r"b\.csv"),
    table("utf16-little", TABLE.decode().encode("utf-16-le"), r"b\.csv.*(NUL|UTF-16)"),
    table("utf16-with-mark", TABLE.decode().encode("utf-16"), r"b\.csv.*UTF-16.*iconv"),
    table("utf16-big-with-mark", b"\xfe\xff" + TABLE.decode().encode("utf-16-be"),
          r"b\.csv.*UTF-16.*iconv"),
    table("utf32-with-mark", TABLE.decode().encode("utf-32"), r"b\.csv.*UTF-32.*iconv"),
    table("latin1-header", "x,á,b\ng,1,2\nh,2,1\n".encode("latin-1"), r"b\.csv.*UTF-8.*iconv"),
    table("latin1-label", "x,a,b\ng,1,2\né,2,1\n".encode("latin-1"), r"b\.csv.*UTF-8.*iconv"),
    table("latin1-label-far-down", frame(3000).to_csv().encode() + b"\xe9,1,2,3,4,5\n",
          r"b\.csv.*UTF-8.*iconv"),
    table("shift-jis", "x,あ\ng,1\nh,2\n".encode("shift-jis"), r"b\.csv.*UTF-8.*iconv"),
    table("nul-bytes", "x,a,b\n" + "\0" * 200 + "\n", r"b\.csv.*row 1 below the header"),
    table("random-bytes", np.random.default_rng(0).bytes(4000), r"b\.csv.*(UTF-8|table|header)"),
    table("html", "<!DOCTYPE html>\n<html><body>Not found, sorry</body></html>\n",
          r"b\.csv.*HTML"),
    table("html-after-blanks", "\n\n <html lang='en'><head>\n</head></html>\n", r"b\.csv.*HTML"),
    table("xml", "<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", r"b\.csv.*XML"),
    table("json", json.dumps({"a": [1, 2], "b": [3, 4]}, indent=1), r"b\.csv.*JSON"),
    table("json-lines", '{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n', r"b\.csv.*JSON"),
    table("xlsx", zip_of("xl/workbook.xml", "<workbook/>"), r"b\.csv.*Excel"),
    table("xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), r"b\.csv.*Excel"),
    table("zip", zip_of("a.csv", TABLE), r"b\.csv.*ZIP"),
    table("tar", tar_of("a.csv", TABLE), r"b\.csv.*tar"),
    table("tar-gz", gzip.compress(tar_of("a.csv", TABLE)), r"b\.csv\.gz.*tar", suffix=".csv.gz"),
    table("gzip-not-said", gzip.compress(TABLE), r"b\.csv.*gzip.*\.gz"),
    table("zstd", bytes.fromhex("28b52ffd") + bytes(99), r"b\.csv.*zstd"),
    table("bzip2", b"BZh91AY&SY" + bytes(99), r"b\.csv.*bzip2"),
    table("xz", bytes.fromhex("fd377a585a00") + bytes(99), r"b\.csv.*xz"),
    table("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", r"b\.csv.*PDF"),
    table("parquet-called-csv", b"PAR1" + bytes(99) + b"PAR1", r"b\.csv.*Parquet"),
    table("hdf5-called-csv", b"\x89HDF\r\n\x1a\n" + bytes(99), r"b\.csv.*HDF5"),
    table("npy-called-csv", b"\x93NUMPY\x01\x00" + bytes(99), r"b\.csv.*\.npy"),
    table("png-called-csv", b"\x89PNG\r\n\x1a\n" + bytes(99), r"b\.csv.*PNG"),
    table("rds-called-csv", gzip.compress(b"X\n\0\0\0\3"), r"b\.csv.*gzip"),
    table("git-lfs-pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\n"
          "size 12345\n", r"b\.csv.*Git LFS.*git lfs pull"),
    table("gz-cut-in-the-header", gzip.compress(TABLE)[:12], r"b\.csv\.gz.*cut short",
          suffix=".csv.gz"),
    table("gz-cut-in-the-middle", gzip.compress(frame(3000).to_csv().encode())[:20_000],
          r"b\.csv\.gz.*cut short", suffix=".csv.gz"),
    table("gz-without-its-checksum", gzip.compress(TABLE)[:-8], r"b\.csv\.gz.*cut short",
          suffix=".csv.gz"),
    table("gz-wrong-checksum", gzip.compress(TABLE)[:-8] + bytes(8), r"b\.csv\.gz.*CRC",
          suffix=".csv.gz"),
    table("gz-wrong-length", gzip.compress(TABLE)[:-4] + bytes(4),
          r"b\.csv\.gz.*[Ii]ncorrect length", suffix=".csv.gz"),
    table("gz-not-compressed", TABLE, r"b\.csv\.gz.*not.*gzip", suffix=".csv.gz"),
    table("gz-zlib-stream", zlib.compress(TABLE), r"b\.csv\.gz.*not.*gzip", suffix=".csv.gz"),
    table("gz-rubbish-behind", gzip.compress(TABLE) + b"rubbish", r"b\.csv\.gz.*damaged",
          suffix=".csv.gz"),
    table("gz-empty", b"", r"b\.csv\.gz is empty", suffix=".csv.gz"),
    table("gz-of-nothing", gzip.compress(b""), r"b\.csv\.gz is empty", suffix=".csv.gz"),
    table("gz-twice", gzip.compress(gzip.compress(TABLE)), r"b\.csv\.gz.*gzip", suffix=".csv.gz"),
    table("excel-called-xlsx", zip_of("xl/workbook.xml", "<workbook/>"), r"'\.xlsx' is not one of",
          suffix=".xlsx"),
    table("gz-of-parquet", gzip.compress(b"PAR1"), r"b\.parquet\.gz.*decompress it",
          suffix=".parquet.gz"),
    table("no-suffix", TABLE, "'none' is not one of", suffix=""),
    table("layer-of-text", TABLE, "has no layers", "--layer", "counts"),
    table("lines-end-with-CR-alone", TABLE.replace(b"\n", b"\r"), r"b\.csv.*CR alone"),
    table("matrix-market", "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 3\n",
          r"b\.csv is a MatrixMarket"),
    table("gct", "#1.2\n2\t2\nName\tDescription\ta\tb\ng\tx\t1\t2\nh\ty\t3\t4\n",
          r"b\.tsv is a GCT", suffix=".tsv"),
    table("six-million-columns", b"x" + b",a" * 6_000_000 + b"\n", r"b\.csv.*6,000,001 fields"),
    table("wide-and-ragged", wide(20_000) + b"h,1,2\n",
          r"b\.csv.*row 2 below the header, 'h', has 3 fields instead of 20,001"),
    table("wide-with-a-word", wide(20_000) + b"h,1,word" + b",1" * 19_998 + b"\n",
          r"b\.csv: 'word' in column 'a1', row 'h' \(row 2 below the header\)"),
    table("wide-in-latin1", wide(20_000) + "é".encode("latin-1") + b",1" * 20_000 + b"\n",
          r"b\.csv.*UTF-8.*0xe9 in row 2"),
    table("header-field-of-200-kB", b"x," + b"a" * 200_000 + b",b\ng,1\nh,2\n",
          r"b\.csv: the header.*field limit"),
    Case(name="text-bomb-of-zeros", input="b.csv.gz", write=bomb,
         says=r"b\.csv\.gz.*row 2 below the header.*longer than"),
    Case(name="text-line-of-1-GB", input="b.csv", write=long_line,
         says=r"b\.csv.*row 2 below the header.*longer than"),
    Case(name="text-header-of-100-MB", input="b.csv", write=long_header,
         says=r"b\.csv.*header.*longer than"),
    Case(name="text-quote-never-closed", input="b.csv", write=quote_never_closed,
         says=r"b\.csv.*quote"),
    Case(name="text-row-much-longer-than-the-first", input="b.csv", write=wide_rows,
         says=r"b\.csv.*row 2 below the header.*longer than"),
]  # fmt: skip
