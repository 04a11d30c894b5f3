"""What every page that gesso serves needs: an address to listen at, names by which it may be called, a quiet server."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from gesso.errors import ConfigError


def known_host(host: str, names: tuple[str, ...]) -> bool:
    """Whether a Host header names this server: localhost, an address in numbers, or one of `names`.

    Other names are refused, so that a foreign page whose name was made to point here (DNS rebinding) cannot read anything.
    """
    parts = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d+)?", host.lower())
    name = parts and (parts[1] or parts[2])
    if name in ("localhost", *map(str.lower, names)):
        return True
    return _address(name or "") is not None


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this computer alone."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for browsers.

    Raises:
        ConfigError: The address is taken, or not this computer's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)  # from here on browsers wait instead of failing, so that the address can be told
    except (OSError, OverflowError) as error:
        found.close()
        raise ConfigError(
            f"--host {host} --port {port} cannot be listened at ({error}): give another port (0 takes a free one), or "
            "an address of this computer."
        ) from None
    return found


def url_of(listening: socket.socket) -> str:
    """Where a browser on this computer finds a page, or on any where it listens at one address: http://127.0.0.1:8765/."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


class _Server(uvicorn.Server):
    """uvicorn that says when it begins to end."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so, and end."""
        self._ending()
        await super().shutdown(sockets)


def http_server(app: Any, ending: Callable[[], None] = lambda: None, **settings: Any) -> uvicorn.Server:
    """uvicorn, quiet, and without websockets if `settings` (those of uvicorn.Config) do not say otherwise.

    It leaves the logging of this process as it is: a new configuration closes every handler there is, and handlers of
    other libraries (absl, which TensorBoard brings) then close the terminal's stream.

    Args:
        app: What answers.
        ending: Called as soon as the server is told to end, before it waits for requests that are being answered.
        settings: Of uvicorn.
    """
    config = uvicorn.Config(
        app,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        **{"ws": "none", "log_level": "warning", **settings},
    )
    return _Server(config, ending)
