"""Text frames over a real WebSocket; the only file of the client that knows the ``websockets`` library."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from lockjaw.errors import ConnectionLost
from lockjaw.gateway.endpoint import pinned_digest
from lockjaw.gateway.frames import MAX_FRAME_BYTES
from lockjaw.gateway.transport import Transport
from lockjaw.settings import GatewaySettings

PIN_CLOSE_LIMIT_REAL_S = 0.25
LIBRARY_CLOSE_LIMIT_REAL_S = 5.0  # for closes that the library starts itself: a frame over the limit


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # a redirect could lead around the refusal of plaintext and around the pin


class WebSocketTransport:
    """A ``Transport`` over one WebSocket connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise loss_of(error) from error

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as error:
            raise loss_of(error) from error

    async def close(self, code: int, reason: str, *, limit_s: float) -> tuple[int, str]:
        try:
            async with asyncio.timeout(limit_s):
                await self._socket.close(code, reason)
        except TimeoutError:
            pass  # a frozen peer does not answer; what we owed it is written
        finally:
            self._socket.transport.abort()  # no-op when the handshake of the close is complete
        await self._socket.wait_closed()
        received = self._socket.protocol.close_rcvd
        return (received.code, received.reason) if received else (code, reason)


def loss_of(error: ConnectionClosed) -> ConnectionLost:
    """The peer's close code; ours when only we closed (a frame over the limit: 1009); 1006 when neither did."""
    frame = error.rcvd or error.sent
    return ConnectionLost(frame.code, frame.reason) if frame else ConnectionLost(1006)


async def dial(gateway: GatewaySettings) -> Transport:
    """Open a WebSocket to a gateway: no compression, no ping, no proxy, no redirects, frames up to 25 MiB.

    With a pin, the certificate is compared before the first frame; its issuer does not matter then. Cancelling
    closes the socket.

    Raises:
        ConnectionLost (definite): code 1006 when nobody listens or the upgrade is refused, 1008 when the pin
            does not match.
    """
    context: ssl.SSLContext | None = None
    if urlsplit(gateway.url).scheme == "wss":
        context = ssl.create_default_context()
        if gateway.tls_fingerprint:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    try:
        socket = await _Connect(
            gateway.url,
            ssl=context,
            compression=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=LIBRARY_CLOSE_LIMIT_REAL_S,
            max_size=MAX_FRAME_BYTES,
            proxy=None,
        )
    except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
        raise ConnectionLost(1006, definite=True) from error
    if gateway.tls_fingerprint:
        problem = _pin_problem(socket, pinned_digest(gateway.tls_fingerprint))
        if problem:
            await WebSocketTransport(socket).close(1008, problem, limit_s=PIN_CLOSE_LIMIT_REAL_S)
            raise ConnectionLost(1008, problem, definite=True, refused=True)
    return WebSocketTransport(socket)


def _pin_problem(socket: ClientConnection, expected: str) -> str | None:
    session: ssl.SSLObject | None = socket.transport.get_extra_info("ssl_object")
    certificate = session.getpeercert(binary_form=True) if session is not None else None
    if not certificate:
        return "gateway tls fingerprint unavailable"
    return None if hashlib.sha256(certificate).hexdigest() == expected else "gateway tls fingerprint mismatch"
