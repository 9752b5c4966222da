"""The client's address, found in a way that the client cannot influence.

Text that is not an address is never used as a key. The field that proxies write is read only if the transport's peer
is a trusted proxy: from right to left, up to the first address that is not a trusted proxy's; or, if a number of
proxies is trusted, exactly that many addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from typing import Any, Final

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.http.messages import FIELD_NAME, Request
from ratelimit_kit.web.identity.forwarded import HOPS, READERS, single

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNKNOWN = "unknown"
"""The key shared by all clients without an address, such as those on a UNIX socket."""


class ClientAddress:
    """Finds the client's address behind proxies.

    `trusted_proxies` lists networks ("10.0.0.0/8") and, for a proxy on a UNIX socket, "unix"; or it is the number of
    proxies that every request passes through. `client_header` is the only field that is read: "x-forwarded-for",
    "forwarded", or a field in which an edge server in a trusted network writes a single address. IPv6 addresses are
    grouped by their first `ipv6_prefix` bits, because one client has many addresses.
    """

    def __init__(
        self,
        trusted_proxies: Iterable[str] | int = (),
        ipv6_prefix: int = 64,
        client_header: str = "x-forwarded-for",
    ) -> None:
        if isinstance(ipv6_prefix, bool) or not isinstance(ipv6_prefix, int) or not 32 <= ipv6_prefix <= 128:
            raise OptionError(
                f"ipv6_prefix must be a number of bits from 32 to 128, got {ipv6_prefix!r}; networks have 64"
            )
        self._ipv6_prefix = ipv6_prefix
        self.header = _header(client_header)
        self._read = READERS.get(self.header, single)
        self._hops, proxies = _proxies(trusted_proxies)
        if self._hops and self.header not in READERS:
            raise OptionError(
                f"client_header={client_header!r} is trusted only from known proxies, and trusted_proxies={self._hops} "
                'does not name any: list their networks, such as ["10.0.0.0/8"]'
            )
        self._trust_unix = "unix" in proxies
        self._networks = _networks([text for text in proxies if text != "unix"])
        self.trusts_nobody = not (self._hops or proxies)

    def is_trusted(self, request: Request) -> bool:
        """Whether the peer is a trusted proxy."""
        return bool(self._hops) or self._trusts(parse_address(request.peer or ""), request.peer)

    def key(self, request: Request) -> str:
        """The address (or IPv6 network) under which this client is counted, as text."""
        if self.trusts_nobody:
            return _key((request.peer or "")[:_LONGEST], self._ipv6_prefix)
        return _key(self._client(request), self._ipv6_prefix)

    def _client(self, request: Request) -> Address | None:
        known = parse_address(request.peer or "")
        field = request.headers.get(self.header, "")
        if self._hops:
            nodes = self._read(field)
            return (parse_address(nodes[-self._hops]) if len(nodes) >= self._hops else None) or known
        if not field or not self._trusts(known, request.peer):
            return known
        for node in reversed(self._read(field)):
            address = parse_address(node)
            if address is None:
                return known
            known = address
            if not self._trusts(address, node):
                return known
        return known

    def _trusts(self, address: Address | None, peer: str | None) -> bool:
        if address is None:
            return self._trust_unix and not peer
        return any(address in network for network in self._networks if network.version == address.version)


_LONGEST: Final = 100
"""Maximum length of an address, in characters: the longest has 45, plus a zone and a port."""

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""An address with this prefix is the IPv4 address in its last 32 bits (RFC 4291, 2.5.5.2)."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""An address with this prefix stands for the IPv4 address in its last 32 bits (RFC 6052)."""

_LOCAL_NAT64: Final = ip_network("64:ff9b:1::/48")
"""One with this prefix stands for an IPv4 address too, but each network chooses in which of its bits (RFC 8215)."""


@lru_cache(maxsize=4096)
def _key(client: Address | str | None, ipv6_prefix: int) -> str:
    address = parse_address(client) if isinstance(client, str) else client
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv6Address) and ipv6_prefix < 128 and address not in _LOCAL_NAT64:
        return str(IPv6Network((int(address), ipv6_prefix), strict=False))
    return str(address)


def parse_address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]:80` or `fe80::1%eth0`; else None.

    An IPv6 address that stands for an IPv4 address (mapped or NAT64) becomes that one: it is the same client.
    """
    if len(text) > _LONGEST:
        return None
    text = text.strip()
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return getattr(address, "ipv4_mapped", None) or address


def _is_port(text: str) -> bool:
    """Whether this is a colon and a port, which may be obfuscated (RFC 7239, 6)."""
    return text.startswith(":") and text[1:].replace("_", "a").replace("-", "a").replace(".", "a").isalnum()


def _header(name: object) -> str:
    if not isinstance(name, str) or not FIELD_NAME.fullmatch(name):
        raise OptionError(
            f"client_header={name!r} is not a field name: choose 'x-forwarded-for', 'forwarded', or the field in which your "
            "edge writes the client's address, such as 'cf-connecting-ip'"
        )
    if "_" in name:
        raise OptionError(
            f"client_header={name!r}: servers drop fields with underscores, or treat them like those with hyphens; write "
            f"client_header={name.lower().replace('_', '-')!r}"
        )
    return name.lower()


def _proxies(trusted: Any) -> tuple[int, list[str]]:
    """The number of trusted proxies (0 if networks are listed), and the networks."""
    if isinstance(trusted, int) and not isinstance(trusted, bool):
        if not 0 <= trusted <= HOPS:
            raise OptionError(f"trusted_proxies must be a number of proxies from 0 to {HOPS}, got {trusted}")
        return trusted, []
    if trusted == "*" or (isinstance(trusted, list | tuple) and "*" in trusted):
        raise _trusts_everyone("*")
    if isinstance(trusted, str | bool) or not isinstance(trusted, Iterable):
        raise OptionError(
            f'trusted_proxies={trusted!r} is not a list of networks: write ["10.0.0.0/8"], or the number of your proxies'
        )
    return 0, list(trusted)


def _networks(texts: list[str]) -> list[Network]:
    networks = [_network(text) for text in texts]
    for version in (4, 6):
        merged = collapse_addresses([network for network in networks if network.version == version])  # type: ignore[type-var]
        if any(network.prefixlen == 0 for network in merged):
            raise _trusts_everyone(", ".join(texts))
    return networks


def _network(text: object) -> Network:
    try:
        network = ip_network(text)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        if "host bits" in str(error):
            meant = ip_network(str(text), strict=False)
            raise OptionError(f'trusted_proxies: {text!r} is an address inside a network: write "{meant}"') from None
        raise OptionError(
            f'trusted_proxies: {text!r} is not a network. For example: "10.0.0.0/8", "192.0.2.7" or "unix"'
        ) from None
    if isinstance(text, int):
        raise OptionError(f'trusted_proxies: {text!r} is not a network. For example: "10.0.0.0/8"')
    for within in (_MAPPED, _NAT64):  # addresses of clients and proxies are read likewise
        if isinstance(network, IPv6Network) and network.subnet_of(within):
            first = int(network.network_address) & 0xFFFFFFFF
            return IPv4Network((first, network.prefixlen - within.prefixlen))
    return network


def _trusts_everyone(text: object) -> OptionError:
    return OptionError(
        f"trusted_proxies: {text!r} would let every client choose its own address, and so escape every limit: "
        "list only the networks of your proxies"
    )
