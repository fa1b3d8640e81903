"""A certificate made on the spot, since browsers give a camera only to pages that come over https."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everyframe.errors import UsageError, install_extra

#: the longest that browsers take
_DAYS = 397


@dataclass(frozen=True, slots=True)
class Certificate:
    """fingerprint: SHA-256, as browsers show it. chain, key: PEM."""

    fingerprint: str
    chain: bytes
    key: bytes

    def context(self) -> ssl.SSLContext:
        with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:  # only the user can look into it
            chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
            chain.write_bytes(self.chain)
            key.write_bytes(self.key)
            return context(chain, key)


def context(chain: str | os.PathLike[str], key: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """Raises UsageError for what are no certificate and key that belong together."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(chain, key, password=lambda: "")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        got = getattr(error, "strerror", None) or str(error)
        raise UsageError("The certificate cannot be used.", where=chain, expected="PEM, with its key (--key)", got=got) from None
    return made


def self_signed(names: Sequence[str]) -> Certificate:
    """names: of this machine, and its addresses. Raises UsageError where cryptography is not installed."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UsageError(
            "A certificate cannot be made without the package cryptography.", where="--tls",
            hint=f"{install_extra('serve')}, or give one with --cert and --key",
        ) from None  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "everyframe")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName([_name(x509, each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    return Certificate(
        made.fingerprint(hashes.SHA256()).hex(":").upper(), made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
    )  # fmt: skip


def _name(x509: Any, text: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def addresses() -> tuple[str, ...]:
    """This machine's own, in numbers, that of the way to other networks first. Asks nobody: no packet is sent."""
    found: list[str] = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
                found.append(probe.getsockname()[0])
            except OSError:
                continue
    return tuple(dict.fromkeys(each for each in found if "%" not in each))
