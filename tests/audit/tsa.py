"""A time-stamp authority for tests: openssl behind HTTP, with a root and a certificate of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx2

_CONFIG = """
[tsa]
default_tsa = it
[it]
serial = {directory}/serial
signer_cert = {directory}/tsa.pem
signer_key = {directory}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[extensions]
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
"""


def _openssl(*arguments: str, cwd: Path) -> bytes:
    return subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True).stdout


@dataclass(slots=True)
class OpensslAuthority(httpx2.AsyncBaseTransport):
    """A transport behind which `openssl ts -reply` answers each query."""

    directory: Path
    name: str = "tsa.test"

    def __post_init__(self) -> None:
        self.directory.mkdir()
        config = _CONFIG.format(directory=self.directory, name=self.name)
        (self.directory / "ts.cnf").write_text(config, encoding="utf-8")
        (self.directory / "serial").write_text("01\n", encoding="ascii")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        subject = ("-subj", f"/CN=root of {self.name}")
        _openssl("req", "-x509", *curve, "-keyout", "root.key", "-out", "root.pem", *subject, "-days", "30", cwd=self.directory)
        _openssl("req", *curve, "-keyout", "tsa.key", "-out", "tsa.csr", "-config", "ts.cnf", cwd=self.directory)
        signing = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "30")
        extensions = ("-extfile", "ts.cnf", "-extensions", "extensions")
        _openssl("x509", "-req", "-in", "tsa.csr", *signing, *extensions, "-out", "tsa.pem", cwd=self.directory)

    @property
    def roots(self) -> Path:
        """The certificate under which it is believed."""
        return self.directory / "root.pem"

    def reply(self, query: bytes) -> bytes:
        """What it answers."""
        (self.directory / "query.tsq").write_bytes(query)
        return _openssl("ts", "-reply", "-config", "ts.cnf", "-queryfile", "query.tsq", cwd=self.directory)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a query."""
        content = self.reply(await request.aread())
        return httpx2.Response(200, content=content, headers={"content-type": "application/timestamp-reply"})
