"""Clips by address: off unless the operator lists hosts, and never from inside the network."""

import asyncio
import http.client
import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

from glmtts.serve.errors import ApiError

TIMEOUT_S = 10.0


async def fetch(url: str, hosts: tuple[str, ...], limit: int) -> bytes:
    """What lies at an https address of an allowed host.

    The name is resolved once and the connection goes to that address, so that it cannot become
    another between check and use; redirects are not followed.

    Args:
        url: Where.
        hosts: The hosts that are allowed.
        limit: Most bytes.

    Raises:
        ApiError: it may not, or cannot, be fetched.
    """
    if not hosts:
        raise _refused("This server fetches nothing. Upload the clip as audio_sample.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:
        raise _refused("This is no address.") from None
    if parts.scheme != "https" or host not in hosts or port != 443 or parts.username:
        raise _refused(f"Expected https:// and one of the hosts {', '.join(hosts)}.")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if any(char <= " " or char > "~" for char in path):
        raise _refused("The address holds characters that no address has.")
    return await asyncio.to_thread(_get, host, path or "/", limit)


def public_address(host: str) -> str:
    """An address of a host that is not inside any private network.

    Raises:
        ApiError: the name cannot be resolved, or one of its addresses is private.
    """
    try:
        found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _refused("The host of the address is not known.") from error
    addresses = [str(item[4][0]) for item in found]
    for address in addresses:
        ip = ipaddress.ip_address(address.split("%")[0])
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        if not mapped.is_global or mapped.is_multicast:
            raise _refused("The address leads into a private network.")
    return addresses[0]


def _get(host: str, path: str, limit: int) -> bytes:
    address = public_address(host)
    connection = http.client.HTTPSConnection(host, timeout=TIMEOUT_S)
    try:
        plain = socket.create_connection((address, 443), timeout=TIMEOUT_S)
        context = ssl.create_default_context()
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        connection.request("GET", path, headers={"Accept": "audio/*"})
        response = connection.getresponse()
        if response.status != 200:
            raise _refused(f"The host answered {response.status}; redirects are not followed.")
        data = response.read(limit + 1)
    except OSError as error:
        raise _refused("The clip could not be fetched.") from error
    except http.client.HTTPException as error:
        raise _refused("The host answered what is no HTTP.") from error
    finally:
        connection.close()
    if len(data) > limit:
        raise ApiError(413, f"A clip may have {limit} bytes.", code="too_large", param="audio_url")
    return data


def _refused(why: str) -> ApiError:
    return ApiError(400, why, code="url_refused", param="audio_url")
