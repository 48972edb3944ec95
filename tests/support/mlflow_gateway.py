"""Gateways before an MLflow server as organizations run them: a login, a token, a private CA, no /health."""

import base64
import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.faults.proxy import Fault, Request, Rule, pass_on

USER, SECRET = "user", "secret"
BASIC = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
BEARER = f"Bearer {SECRET}"


def require(authorization: str) -> Rule:
    """Refuse every request without this header, with 401 and a text that is not MLflow's."""

    def check(request: Request) -> None:
        given = request.headers.get("Authorization") == authorization
        (pass_on if given else answer(401, b"who are you"))(request)

    return Rule(check)


def answer(status: int, body: bytes) -> Fault:
    """Answer a request without passing it on."""
    return lambda request: request.answer(status, {}, body, len(body))


NO_HEALTH = Rule(answer(404, b"no such page"), "/health")
EMPTY_SERVER = Rule(answer(200, b"{}"), "experiments/search")  # stands for a server without experiments


def private_ca(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Write the certificate of a private CA; return its path and the TLS settings of a server at 127.0.0.1."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=127.0.0.1")
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context
