"""Who may come in: API keys, compared in constant time, and pages of other sites kept out."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from embedge.server.refusals import Kind, Refusal
from embedge.server.settings import Settings, is_loopback


class Keys:
    """The keys of a server.

    Args:
        settings: `keys`, and `cors_origins`.
    """

    def __init__(self, settings: Settings) -> None:
        self._digests = [_digest(key) for key in settings.keys]
        self._origins = settings.cors_origins

    def check(self, headers: Mapping[str, str]) -> str:
        """Whose key a request has: a name for fairness, never shown. "" where none is needed.

        Raises:
            Refusal: UNAUTHORIZED.
        """
        if not self._digests:
            self._check_origin(headers.get("origin"))
            return ""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = _digest(key.strip())
        # All are compared, whether one agrees or not, so that time says nothing.
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(found):
            what = "is wrong" if key else "is missing"
            raise Refusal(
                Kind.UNAUTHORIZED, f"the API key {what}; send it as: Authorization: Bearer KEY"
            )
        return str(found.index(True))

    def _check_origin(self, origin: str | None) -> None:
        """Without keys, a page of another site that runs in this machine's browser is refused."""
        if origin is None or "*" in self._origins or origin in self._origins:
            return
        try:
            host = urlsplit(origin).hostname or ""
        except ValueError:
            host = ""
        if not is_loopback(host):
            raise Refusal(
                Kind.FORBIDDEN,
                "pages of this origin may not ask here; --cors-origin allows it",
            )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
