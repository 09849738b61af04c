"""The certificate of a service: its user's, or one that is made once and pinned by clients.

Only TLS 1.2 and later is spoken, and nothing in the clear.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import tempfile
from pathlib import Path

from samovar.errors import InitializationError

_YEARS = 20  # clients pin it, so its end protects nobody
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Certificate:
    """``own``: made here, so that only its fingerprint can vouch for it. InitializationError: it cannot be used."""

    def __init__(self, certificate: Path, key: Path, own: bool = False) -> None:
        self.is_own = own
        try:
            self.fingerprint = _fingerprint(certificate)
            self.context = _server_context()
            self.context.load_cert_chain(certificate, key, password=lambda: "")  # or it would ask on the terminal
        except (OSError, ValueError) as error:
            hint = "; an encrypted key is no use to a service" if isinstance(error, ssl.SSLError) else ""
            raise _wrong(
                f"{certificate}, with the key {key}, is no certificate to serve with: {error}{hint}"
            ) from error


def find(state: Path, certificate: str = "", key: str = "") -> Certificate:
    """What was given, else the one below ``state``, which is made when it is missing. InitializationError."""
    if certificate or key:
        if not (certificate and key):
            raise _wrong("a certificate and its key go together: give both --tls-cert and --tls-key, or neither")
        return Certificate(Path(certificate), Path(key))
    path = state / "tls" / "service.pem"
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise _wrong(f"no certificate can be written to {path}: {error}") from error
    return Certificate(path, path, own=True)


def fingerprint_of(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # connections are long, and nobody resumes one
    return context


def _fingerprint(path: Path) -> str:
    found = _CERTIFICATE.search(path.read_bytes())
    if found is None:
        raise ValueError("there is no PEM certificate in it")
    return fingerprint_of(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))


def _make(path: Path) -> None:
    """Key and certificate are one file, so that no two processes make a pair that does not fit."""
    pem = _pem(socket.gethostname())
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fd, draft = tempfile.mkstemp(dir=path.parent)  # 0600
    try:
        with open(fd, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was quicker, and that one counts
    finally:
        os.unlink(draft)


def _pem(host: str) -> bytes:
    try:  # only here: whoever brings a certificate needs no library that makes one
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise _wrong(
            "a certificate is made with pip install 'samovar[remote]', which is missing; or give one, with --tls-cert "
            "and --tls-key"
        ) from error
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "samovar")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(encoding)


def _wrong(message: str) -> InitializationError:
    return InitializationError("InitializationError", message)
