"""Passwords as they are kept: scrypt with its parameters beside it, so that these can rise; and API keys.

A stored password is a text of the PHC string format, ``$scrypt$ln=15,r=8,p=3$<salt>$<hash>``. A list of
Fooocus holds SHA-256 without salt; of those, scrypt over that is kept: ``$scrypt-sha256$…``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass

from fooocus_lite.errors import BadValue

MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 8, 1000  # the least that NIST SP 800-63B allows
#: What an API key begins with, so that a scanner of published code knows one when it sees it.
KEY_BEGINS = "fl-"
_SALT_BYTES, _HASH_BYTES, _KEY_BYTES = 16, 32, 32
_MOST_MEMORY_BYTES = 1 << 28  # of a file that somebody edited: no more than this for one login
_STORED = re.compile(
    r"\$(?P<scheme>scrypt|scrypt-sha256)\$ln=(?P<ln>\d{1,2}),r=(?P<r>\d{1,2}),p=(?P<p>\d{1,2})"
    r"\$(?P<salt>[A-Za-z0-9+/]{1,100})\$(?P<hash>[A-Za-z0-9+/]{1,100})"
)


@dataclass(frozen=True)
class Cost:
    """What scrypt is asked to spend: 2 ** ``ln`` blocks of 128 · ``r`` bytes, ``p`` times."""

    ln: int
    r: int
    p: int

    @property
    def memory_bytes(self) -> int:
        """What one password takes while it is looked at."""
        return 128 * self.r * (1 << self.ln)


#: One of the equally strong choices of OWASP's Password Storage Cheat Sheet: 32 MiB, and some 0.2 s on a small machine.
TODAY = Cost(ln=15, r=8, p=3)


@dataclass(frozen=True)
class _Stored:
    scheme: str
    cost: Cost
    salt: bytes
    digest: bytes


def hash_password(password: str) -> str:
    """The text to keep of a password. Takes a noticeable while, as it should."""
    return _made("scrypt", _normal(password))


def hash_of_sha256(digest: str) -> str:
    """The text to keep of a password of which only its SHA-256 in hex is known, as in Fooocus's list.

    Raises:
        BadValue: that is no SHA-256.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise BadValue("The hash of a password is not a SHA-256.", "It has 64 digits of 0 to 9 and a to f.")
    return _made("scrypt-sha256", digest.lower().encode())


def is_password(password: str, stored: str) -> bool:
    """Whether ``stored`` was made from this password; takes as long as making it did."""
    parts = _parsed(stored)
    if len(password) > MAX_PASSWORD_CHARS or parts is None:
        return False
    if parts.scheme == "scrypt-sha256":
        secret = hashlib.sha256(password.encode("utf-8", "surrogatepass")).hexdigest().encode()
    else:
        secret = _normal(password)
    return hmac.compare_digest(_derived(secret, parts.salt, parts.cost), parts.digest)


def is_stored_password(text: str) -> bool:
    """Whether the text is one that `hash_password` or `hash_of_sha256` could have made, now or with other costs."""
    return _parsed(text) is not None


def is_dated(stored: str) -> bool:
    """Whether the password should be kept anew, now that it is known: the costs have risen, or it was taken over."""
    parts = _parsed(stored)
    return parts is not None and (parts.scheme != "scrypt" or parts.cost != TODAY)


def checked_password(password: str) -> str:
    """The password, if it may be one.

    Raises:
        BadValue: it is too short or too long.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        hint = f"Use at least {MIN_PASSWORD_CHARS} characters; a few words are easy to keep in mind."
        raise BadValue(f"The password has {len(password):,} characters.", hint, field="password")
    return password


def new_password() -> str:
    """A password that nobody can guess: 120 bits in words of letters and digits that are not mixed up."""
    signs = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(signs) for _ in range(6)) for _ in range(4))


def new_key() -> str:
    """A new API key: 256 random bits."""
    return KEY_BEGINS + secrets.token_urlsafe(_KEY_BYTES)


def hash_key(api_key: str) -> str:
    """The text to keep of an API key. It cannot be guessed, so one round of SHA-256 keeps it secret."""
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()


#: No password has this one; it takes as long to find that out as with any other.
NOBODYS = f"$scrypt$ln={TODAY.ln},r={TODAY.r},p={TODAY.p}${'A' * 22}${'A' * 43}"


def _normal(password: str) -> bytes:
    # One person's keyboard composes é, another's does not: NIST SP 800-63B asks for a normal form.
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _made(scheme: str, secret: bytes) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _derived(secret, salt, TODAY)
    return f"${scheme}$ln={TODAY.ln},r={TODAY.r},p={TODAY.p}${_text(salt)}${_text(digest)}"


def _derived(secret: bytes, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        secret, salt=salt, n=1 << cost.ln, r=cost.r, p=cost.p, maxmem=2 * cost.memory_bytes, dklen=_HASH_BYTES
    )


def _parsed(stored: str) -> _Stored | None:
    found = _STORED.fullmatch(stored)
    if found is None:
        return None
    cost = Cost(int(found["ln"]), int(found["r"]), int(found["p"]))
    try:
        salt, digest = _bytes(found["salt"]), _bytes(found["hash"])
    except binascii.Error:
        return None
    is_sound = min(cost.ln, cost.r, cost.p) >= 1 and cost.memory_bytes <= _MOST_MEMORY_BYTES and cost.p <= 16
    return _Stored(found["scheme"], cost, salt, digest) if is_sound and len(digest) == _HASH_BYTES else None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
