"""What the server's owner decides: where it listens, who may come in, and how much one may ask for.

A frozen record, checked when it is made. Knows neither packs nor HTTP.
"""

import ipaddress
from dataclasses import dataclass, field, fields
from pathlib import Path

from embedge.errors import OptionError
from embedge.options import flag, shown, whole_number

MEBI = 2**20
LONGEST_RETRY = 120  # seconds; OpenAI's clients wait no longer, and give up at more
LEAST_KEY = 8  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to listen, who may come in, and the limits.

    Raises:
        OptionError: a value is out of bounds, or the server would be open to others without a key.
    """

    host: str = "127.0.0.1"
    port: int = 8080  # 0: any that is free
    uds: Path | None = None  # a Unix socket in place of host and port
    keys: tuple[str, ...] = field(default=(), repr=False)  # any of them opens; none: no key needed
    announce_key: bool = False  # in the line on stdout that says where the server listens
    insecure_no_key: bool = False  # listen on other addresses than this machine's without a key
    cors_origins: tuple[str, ...] = ()  # browsers' pages that may ask; "*" for all
    allow_urls: bool = False  # fetch images by https, from public addresses
    accept_token_ids: bool = False  # take lists of the model's own token ids as input
    json_logs: bool = False

    body_bytes: int = 64 * MEBI  # of one request
    bytes_under_way: int = 1024 * MEBI  # bodies and answers of all requests together
    items: int = 8192  # of one request
    image_bytes: int = 16 * MEBI  # of one image, decoded from base64
    image_pixels: int = 50_000_000  # of one image; it takes four bytes a pixel while it is decoded
    queue_tokens: int = 2**20  # waiting or running, of one pack; see `queue`
    queue_seconds: int = 120  # the longest wait, as estimated, that a request is accepted for

    connections: int = 4096
    header_seconds: int = 10  # from a connection's start to the end of a request's head
    body_seconds: int = 60  # for the body after it
    write_seconds: int = 60  # that a reader may take nothing of its answer
    keep_alive_seconds: int = 75  # of an idle connection; clients' pools keep theirs up to 60
    drain_seconds: int = 2  # /ready says 503 for so long before the socket closes
    grace_seconds: int = 30  # then for requests under way

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type is int:
                least = 0 if one.name in ("port", "drain_seconds") else 1
                most = 65_535 if one.name == "port" else 2**40
                whole_number(value, one.name, least=least, most=most)
            elif one.type is bool:
                flag(value, one.name)
        for key in self.keys:
            if len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
                raise OptionError(
                    f"an API key has {len(key)} characters, or some that HTTP headers cannot "
                    f"carry; a key is {LEAST_KEY} or more printable ASCII characters, no blanks"
                )
        if self.announce_key and not self.keys:
            raise OptionError("announce_key is set, and there is no key")
        for origin in self.cors_origins:
            if origin != "*" and not origin.startswith(("http://", "https://")):
                raise OptionError(f"cors origin {shown(origin)} is not an origin: https://HOST, *")
        if not (self.keys or self.insecure_no_key or self.local):
            raise OptionError(
                f"host {shown(self.host)} can be reached from other machines, and no API key is "
                "set: name a file with --api-key-file, or pass --insecure-no-key if something in "
                "front of the server checks who comes in"
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.uds is not None or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone; a name other than localhost is not trusted."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
