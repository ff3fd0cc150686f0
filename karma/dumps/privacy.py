"""Names and addresses: hashed with a key, or masked.

User names leave ``dumps`` as HMAC-SHA256 (RFC 2104) under the salt ``KARMA_SALT``. What people
write about each other (mentions, e-mail addresses, phone numbers) is masked in rejected lines here,
and in all text by ``threads``, with the same patterns.
"""

import hashlib
import os
import re
from dataclasses import dataclass

from karma.errors import InputError

# The simulator's authors are nobody.
SIMULATED_SALT = b"simulated"
_BLOCK = 64


@dataclass(frozen=True)
class Mask:
    """A pattern that Python's ``re`` (with ASCII classes) and DuckDB's RE2 read alike."""

    pattern: str
    replacement: str


# Reddit's editor writes a backslash before an underscore, and a JSON line two. With other words
# before it, user/ is half of a pair (end-user/customer) or a folder.
MENTION = Mask(
    r"((?:^|[^A-Za-z0-9_])u|(?:^|reddit\.com|[^A-Za-z0-9_./~-])/user)/"
    r"(\\{0,2}[A-Za-z0-9_-]){3,20}",
    r"\1/[user]",
)
EMAIL = Mask(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", "[email]")
# North American numbers with separators, and any with an international prefix.
PHONE = Mask(
    r"(\+[0-9]{1,3}[ .-]?)?(\([0-9]{3}\)[ .-]?|\b[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}\b"
    r"|\+[0-9]{1,3}([ .-]?[0-9]{2,4}){2,5}\b",
    "[phone]",
)
MASKS = {"mention": MENTION, "email": EMAIL, "phone": PHONE}
# In a rejected line names stand in fields of their own too, and in those of user profiles.
_FIELD = re.compile(
    r'("(?:\w*author\w*|speaker|user|\w+_by)"\s*:\s*)(\{[^}]*\}?|"([^"\\]|\\.)*("|\\?$)|[^",}\s]+)'
)
_PROFILE = re.compile(r"\bu_[A-Za-z0-9_-]{3,20}")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_BLANKS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/"}
_COMPILED = [(re.compile(mask.pattern, re.ASCII), mask.replacement) for mask in MASKS.values()]


def salt(simulated: bool) -> bytes:
    """The key of all hashes. Raises InputError if real dumps come without ``KARMA_SALT``."""
    if simulated:
        return SIMULATED_SALT
    value = os.environ.get("KARMA_SALT", "")
    if not value:
        raise InputError(
            "KARMA_SALT",
            "it is not set, and the user names of real dumps are only kept hashed with it",
            "Set it to a secret text of your own, the same for all dumps: export KARMA_SALT=...",
        )
    return value.encode()


def pads(key: bytes) -> tuple[bytes, bytes]:
    """The inner and outer padded keys of HMAC-SHA256 (RFC 2104), as ``sql/dumps/keyed`` takes."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def masked(text: str) -> str:
    """``text`` without mentions, e-mail addresses and phone numbers."""
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text


def masked_head(line: bytes, removed: frozenset[str], size: int) -> str:
    """The first ``size`` bytes of a rejected line, masked; nothing if it names a removed author.

    The line is searched to its end. ``removed`` holds names in lower case.
    """
    if removed:
        whole = _unescaped(line).lower().replace("\\", "")
        if any(name in whole for name in removed):
            return ""
    text = _FIELD.sub(r'\1"[masked]"', _unescaped(line[:size]))
    return masked(_PROFILE.sub("u_[user]", text))


def _unescaped(line: bytes) -> str:
    """A line without JSON's escapes, of which quotes and backslashes keep theirs.

    They stand between words and have letters themselves: nobody finds a name in ``\\nu/name``.
    """
    text = _ESCAPE.sub(_meant, line.decode("utf-8", errors="replace"))
    # Escapes write what lies beyond 16 bits as a pair; half of one is no sign of its own.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _meant(escape: re.Match[str]) -> str:
    code, sign = escape.groups()
    if code is None:
        return _BLANKS.get(sign, escape[0])
    meant = chr(int(code, 16))
    return f"\\{meant}" if meant in '"\\' else meant
