r"""Kernel helper: labels as text that is safe where it is written.

A label is whatever the input's author made it: two lines, a formula for a spreadsheet, an escape
sequence for a terminal. What is written of it says the same and does nothing, and what is in a
file can be read back to the very label.
"""

from __future__ import annotations

import re

__all__ = [
    "drawable",
    "escape_field",
    "escape_label",
    "escape_terminal",
    "unescape_field",
    "unescape_label",
]

# Characters that end a line for some readers, cannot be shown, or mean something to a terminal.
_CONTROLS = (*range(32), *range(127, 160))
_ESCAPES = {
    **{chr(code): f"\\x{code:02x}" for code in _CONTROLS},
    **{chr(code): f"\\u{code:04x}" for code in (0x2028, 0x2029)},
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_ESCAPE_TABLE = str.maketrans(_ESCAPES)
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(.))", re.DOTALL)
_MEANING = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}

_TERMINAL_TABLE = str.maketrans(
    {
        **{chr(code): f"\\x{code:02x}" for code in _CONTROLS if chr(code) not in "\n\t"},
        # They turn what follows from right to left, so that it reads as something else.
        **{
            chr(code): f"\\u{code:04x}"
            for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
        },
    }
)

# No XML can hold these, escaped or not: an SVG with one cannot be opened at all.
_NOT_IN_XML = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")

_STARTS_A_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
# A field in quotes is read without them, and a quote is what was put before another field.
_STARTS_WITH_A_QUOTE = ('"', "'")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def escape_label(label: str) -> str:
    r"""Write a label so that it takes one line and one field, whatever it holds.

    Examples
    --------
    >>> print(escape_label("a\tb\nc"))
    a\tb\nc
    """
    return label.translate(_ESCAPE_TABLE).encode(errors="backslashreplace").decode()


def unescape_label(text: str) -> str:
    r"""Read what `escape_label` wrote.

    Examples
    --------
    >>> unescape_label("a\\tb") == "a\tb"
    True
    """
    return _ESCAPED.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _MEANING.get(found[3], found[0])


def escape_field(label: str) -> str:
    """Write a label as a field of a table that a spreadsheet shows, and does not compute.

    As OWASP advises, a single quote goes before what would start a formula. A number stays one.

    Examples
    --------
    >>> for label in ("TP53", "=1+1", "-1.5", "'as is"):
    ...     print(escape_field(label))
    TP53
    '=1+1
    -1.5
    ''as is
    """
    text = escape_label(label)
    is_formula = text.startswith(_STARTS_A_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula or text.startswith(_STARTS_WITH_A_QUOTE) else text


def unescape_field(text: str) -> str:
    """Read what `escape_field` wrote.

    Examples
    --------
    >>> unescape_field("'=1+1")
    '=1+1'
    """
    return unescape_label(text.removeprefix("'"))


def escape_terminal(text: str) -> str:
    r"""Show characters that a terminal would obey; lines and tabs stay.

    Examples
    --------
    >>> print(escape_terminal("\x1b[2Jgone"))
    \x1b[2Jgone
    """
    return text.translate(_TERMINAL_TABLE).encode(errors="backslashreplace").decode()


def drawable(text: str) -> str:
    r"""Show characters that a picture file cannot hold; everything else stays as it is.

    Examples
    --------
    >>> print(drawable("a<b\x00"))
    a<b\x00
    """
    return _NOT_IN_XML.sub(lambda found: _shown(found[0]), text)


def _shown(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
