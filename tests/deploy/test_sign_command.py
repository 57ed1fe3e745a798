"""`yitong sign` explains a signature to whoever writes a signer."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.sign_commands import parse_http
from exchange.canonical import b64url
from exchange.clock import SystemClock
from exchange.envelope import Tag, sign_request
from exchange.keys import SigningKey

REQUEST = (
    b"POST /r1/CN-YA/GOV/tax/taxation/deed-tax HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/json\r\n"
    b"X-Road-Client: CN-YA/GOV/real-estate/transfer\r\nX-Road-Id: 1\r\nExchange-Purpose: real-estate-transfer\r\n\r\n"
    b'{"subject": "11010519491231002X", "facts": {"deed_tax_paid": {}}}'
)
EXPLAIN = ("--explain", "--language", "en")
CHINESE = ("--language", "zh-CN")
runner = CliRunner()


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = SigningKey.generate()
    made.save(tmp_path / "key.pem")
    return made


def written(tmp_path: Path, key: SigningKey, *, body: bytes = b"") -> Path:
    signed = sign_request(key, parse_http(REQUEST), tag=Tag.REQUEST, now=SystemClock().now())
    head = "".join(f"{name}: {value}\r\n" for name, value in signed.headers)
    path = tmp_path / "request.http"
    path.write_bytes(b"POST " + signed.path.encode() + b" HTTP/1.1\r\n" + head.encode() + b"\r\n" + (body or signed.body))
    return path


def test_unsigned_request_gets_the_three_headers_that_make_it_signed(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "plain.http"
    path.write_bytes(REQUEST)
    done = runner.invoke(app, ["sign", str(path), "--key", str(tmp_path / "key.pem")])
    assert done.exit_code == 0
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["content-digest", "signature-input", "signature"]
    assert key.kid in done.stdout


def test_explain_prints_the_signature_base_and_says_that_it_holds(tmp_path: Path, key: SigningKey) -> None:
    done = runner.invoke(app, ["sign", str(written(tmp_path, key)), "--key", str(tmp_path / "key.pem"), *EXPLAIN])
    assert done.exit_code == 0
    assert '"x-road-client": CN-YA/GOV/real-estate/transfer' in done.stdout
    assert '"@signature-params": (' in done.stdout
    assert "the signature holds" in done.stderr


def test_explain_names_a_digest_that_is_not_the_bodys(tmp_path: Path, key: SigningKey) -> None:
    path = written(tmp_path, key, body=b'{"subject": "11010519491231002X", "facts": {}}')
    done = runner.invoke(app, ["sign", str(path), "--key", str(tmp_path / "key.pem"), *EXPLAIN])
    assert done.exit_code == 1
    assert "Content-Digest is not the body's" in done.stderr


def test_a_given_base_is_compared_line_by_line(tmp_path: Path, key: SigningKey) -> None:
    path = written(tmp_path, key)
    ours = runner.invoke(app, ["sign", str(path), "--explain"]).stdout.rstrip("\n")
    theirs = tmp_path / "base.txt"
    theirs.write_text(ours.replace('"@query": ?', '"@query": '), encoding="utf-8")
    done = runner.invoke(app, ["sign", str(path), "--base", str(theirs), "--language", "en"])
    assert done.exit_code == 1
    assert "line 3 differs from character 11 on" in done.stderr
    theirs.write_text(ours, encoding="utf-8")
    assert runner.invoke(app, ["sign", str(path), "--base", str(theirs)]).exit_code == 0


def test_another_key_and_a_malformed_request_are_told_without_a_stack(tmp_path: Path, key: SigningKey) -> None:
    SigningKey.generate().save(tmp_path / "other.pem")
    other = runner.invoke(app, ["sign", str(written(tmp_path, key)), "--key", str(tmp_path / "other.pem"), "--explain", *CHINESE])
    assert other.exit_code == 1
    assert "签名不成立" in other.stderr
    broken = tmp_path / "broken.http"
    broken.write_bytes(b"POST\r\n\r\n")
    done = runner.invoke(app, ["sign", str(broken)])
    assert done.exit_code == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert b64url(key.public.kid.encode()) not in done.stderr
