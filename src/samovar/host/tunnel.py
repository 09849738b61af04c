"""The tunnel: a client's way to a service on another host. The hub has one end of a socket pair, and knows no more.

    hub ──socket pair──▶ tunnel ══TLS══▶ gate

It runs in a thread of its own. The token is shown when the certificate has been found good, and not before.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
import threading
from concurrent.futures import Future

from samovar.endpoint import Remote
from samovar.errors import InitializationError
from samovar.host import silence
from samovar.host.certificate import fingerprint_of
from samovar.host.pump import CHUNK, GREETING, LINGER, REFUSAL, WELCOME, Stream, bounded, pump, stream_of

SECONDS = 10.0
"""What there is for connecting, and then for the service's answer."""


class Tunnel:
    """Connected when it is made. InitializationError: why it cannot be."""

    def __init__(self, where: Remote) -> None:
        self.socket, far = socket.socketpair()
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=_run, args=(where, far, opened), name="samovar-tunnel", daemon=True)
        self._thread.start()
        try:
            opened.result()
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """When ``socket`` is closed: let what was written there go out."""
        self._thread.join(2 * LINGER)


def _run(where: Remote, near: socket.socket, opened: Future[None]) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_tunnel(where, near, opened))


async def _tunnel(where: Remote, near: socket.socket, opened: Future[None]) -> None:
    with near:
        try:
            stream = await _connect(where)
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        await pump(await stream_of(near), stream)


async def _connect(where: Remote) -> Stream:
    if not where.token:
        raise _wrong(
            f"{where} asks for a token, and none is set: SAMOVAR_ACCESS_TOKEN, access_token in the config file, or "
            "the whole endpoint as `samovar token` on its host prints it"
        )
    try:
        async with asyncio.timeout(SECONDS):
            stream = await _open(where, _context(where))
            shown = _fingerprint(stream)
            if where.fingerprint and not hmac.compare_digest(shown, where.fingerprint):
                stream.writer.transport.abort()
                raise _wrong(
                    f"{where} is not the service that the endpoint names: its certificate has the fingerprint {shown}, "
                    f"expected is {where.fingerprint}. Somebody may stand in between. If its certificate was "
                    "renewed, take the endpoint from `samovar token` on its host again"
                )
            await stream.say(f"{GREETING}{where.token}")
            answer = await stream.hear()
    except ssl.SSLCertVerificationError as error:
        raise _wrong(await _unknown(where, error)) from error
    except ssl.SSLError as error:
        raise _wrong(f"{where} does not speak TLS as a service does: {error.reason or error}") from error
    except TimeoutError as error:
        raise _wrong(
            f"{where} has not answered for {SECONDS:g} s: is it the right host, and does its firewall let this port in?"
        ) from error
    except socket.gaierror as error:
        raise _wrong(f"{where}: there is no such host: {error.strerror}") from error
    except OSError as error:
        raise _wrong(
            f"{where} cannot be reached: {error.strerror or error}; a service listens there when it was started with "
            "`samovar start --listen HOST:PORT`"
        ) from error
    if answer != WELCOME:
        stream.writer.transport.abort()
        raise _wrong(f"{where} refuses this client: {_plain(answer.removeprefix(REFUSAL))}")
    return stream


async def _open(where: Remote, context: ssl.SSLContext) -> Stream:
    reader, writer = await asyncio.open_connection(
        where.host, where.port, ssl=context, server_hostname=where.host, limit=CHUNK, ssl_shutdown_timeout=LINGER
    )
    silence.ask_for_life(writer.get_extra_info("socket"))
    return bounded(Stream(reader, writer))


def _context(where: Remote) -> ssl.SSLContext:
    context = _unverified() if where.fingerprint else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _unverified() -> ssl.SSLContext:
    """For whoever looks at the fingerprint, which says more than any authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _fingerprint(stream: Stream) -> str:
    certificate: bytes = stream.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return fingerprint_of(certificate)


async def _unknown(where: Remote, error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a certificate, and how it can be pinned."""
    text = f"the certificate of {where} is not trusted: {error.verify_message}"
    try:
        async with asyncio.timeout(SECONDS):
            stream = await _open(where, _unverified())
    except (OSError, TimeoutError):
        return text
    shown = _fingerprint(stream)
    stream.writer.transport.abort()
    return (
        f"{text}. No fingerprint is pinned; the one of its certificate is {shown}. If `samovar status` on its host "
        f"shows the same one, write it behind the endpoint: {where}#{shown}"
    )


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _wrong(message: str) -> InitializationError:
    return InitializationError("InitializationError", message)
