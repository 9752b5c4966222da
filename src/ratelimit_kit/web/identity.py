"""Who is asking: the client's address, which a client cannot choose, and the keys of rules.

Text that is not an address is never a key. X-Forwarded-For is read only when the transport's peer
is a trusted proxy, from right to left, up to the first address that no trusted proxy has.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ratelimit_kit.errors import OptionError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HOPS = 32
"""Items of X-Forwarded-For that are read at most."""

UNKNOWN = "unknown"
"""The one key of all clients without an address, such as those on a UNIX socket."""


class ClientAddress:
    """Finds the client's address behind proxies.

    `trusted_proxies` lists networks ("10.0.0.0/8") and, for a proxy on a UNIX socket, "unix".
    IPv6 addresses are grouped by their first `ipv6_prefix` bits, for one client has many.
    """

    def __init__(self, trusted_proxies: Iterable[str] = (), ipv6_prefix: int = 64) -> None:
        if trusted_proxies == "*" or (isinstance(trusted_proxies, list | tuple) and "*" in trusted_proxies):
            raise _trusts_everyone("*")
        if isinstance(trusted_proxies, str) or not isinstance(trusted_proxies, Iterable):
            raise OptionError(f'trusted_proxies={trusted_proxies!r} is no list of networks: write ["10.0.0.0/8"]')
        if isinstance(ipv6_prefix, bool) or not isinstance(ipv6_prefix, int) or not 32 <= ipv6_prefix <= 128:
            raise OptionError(f"ipv6_prefix={ipv6_prefix!r} is no number of bits from 32 to 128; networks have 64")
        proxies = list(trusted_proxies)
        self._trust_unix = "unix" in proxies
        self._networks = [_network(text) for text in proxies if text != "unix"]
        self._ipv6_prefix = ipv6_prefix

    def key(self, peer: str | None, forwarded_for: str) -> str:
        """The address under which this client is counted, as text."""
        address = self._client(peer, forwarded_for)
        if address is None:
            return UNKNOWN
        if isinstance(address, IPv6Address) and self._ipv6_prefix < 128:
            return str(IPv6Network((address, self._ipv6_prefix), strict=False))
        return str(address)

    def _client(self, peer: str | None, forwarded_for: str) -> Address | None:
        known = parse_address(peer or "")
        if not self._trusts(known, peer):
            return known
        for item in reversed(forwarded_for.split(",")[-HOPS:]):
            address = parse_address(item)
            if address is None:
                return known
            known = address
            if not self._trusts(address, item):
                return known
        return known

    def _trusts(self, address: Address | None, peer: str | None) -> bool:
        if address is None:
            return self._trust_unix and not peer
        return any(address in network for network in self._networks if network.version == address.version)


def parse_address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]:80` or `fe80::1%eth0`; else None.

    IPv4-mapped IPv6 addresses become IPv4: they are the same client.
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def hashed(value: str) -> str:
    """A short hash that stands for a value that may be secret, such as an API key."""
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _network(text: object) -> Network:
    try:
        network = ip_network(text)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        if "host bits" in str(error):
            meant = ip_network(str(text), strict=False)
            raise OptionError(f'trusted_proxies: {text!r} is an address within a network: write "{meant}"') from None
        raise OptionError(
            f'trusted_proxies: {text!r} is no network: write for example "10.0.0.0/8", "192.0.2.7" or "unix"'
        ) from None
    if isinstance(text, int) or network.prefixlen == 0:
        raise _trusts_everyone(text)
    return network


def _trusts_everyone(text: object) -> OptionError:
    return OptionError(
        f"trusted_proxies: {text!r} would trust every client to name its own address, and so to escape every limit: "
        "list only the networks of your proxies"
    )
