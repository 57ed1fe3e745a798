"""`yitong sign`: sign a request that lies in a file, and explain a signature line by line to whoever writes a signer."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from deploy.speech import Speaker, speaker
from exchange.clock import SystemClock
from exchange.envelope import (
    HttpRequest,
    Tag,
    content_digest,
    parse_signature_input,
    sign_request,
    signature_base,
    verify_request,
)
from exchange.keys import SigningKey
from exchange.problem import Problem


def sign(
    request: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A request as HTTP text: request line, headers, empty line, body.")
    ],
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PKCS#8 PEM; signs the request when it is not signed.")
    ] = None,
    control: Annotated[bool, typer.Option("--control", help="A control request instead of a data request.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the signature base, and what is wrong with the signature.")
    ] = False,
    base: Annotated[Path | None, typer.Option(exists=True, help="Your own signature base: says where it differs.")] = None,
    language: Annotated[str | None, typer.Option("--language")] = None,
) -> None:
    """Sign a request, or explain the signature it has. 签名与排错."""
    says, tag = speaker(language, stderr=True), Tag.CONTROL if control else Tag.REQUEST
    try:
        read = parse_http(request.read_bytes())
        signed = read if read.one("signature-input") else _signed(read, key, tag, says)
        parsed = parse_signature_input(signed.one("signature-input") or "", tag)
        ours = signature_base(signed, parsed.components, parsed.raw)
        if explain or base is not None:
            print(ours.decode("ascii"))
            faults = _explain(signed, key, tag, says)
            if base is not None:
                faults += compare_bases(ours, base.read_bytes(), says)
            raise typer.Exit(1 if faults else 0)
        for name, value in signed.headers:
            if name in ("content-digest", "signature-input", "signature"):
                print(f"{name}: {value}")
    except Problem as problem:
        says.bad(f"{problem.kind.title_zh}：{problem.detail}", f"{problem.kind.title_en}: {problem.detail}")
        raise typer.Exit(1) from None


def parse_http(raw: bytes) -> HttpRequest:
    """A request written as HTTP text; line ends may be CRLF or LF. Raises `malformed-request`."""
    separator = b"\r\n\r\n" if b"\r\n\r\n" in raw else b"\n\n"
    head, _, body = raw.partition(separator)
    lines = head.decode("utf-8", errors="replace").splitlines()
    parts = lines[0].split(" ") if lines else []
    if len(parts) < 2:
        raise Problem("malformed-request", "the first line is METHOD PATH HTTP/1.1")
    path, _, query = parts[1].partition("?")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise Problem("malformed-request", "a header line has no colon")
        headers.append((name.strip().lower(), value.strip()))
    authority = next((value.lower() for name, value in headers if name == "host"), "")
    return HttpRequest(parts[0], path, query, authority, headers, body)


def _signed(request: HttpRequest, key: Path | None, tag: Tag, says: Speaker) -> HttpRequest:
    if key is None:
        raise Problem(
            "malformed-request", says.words("请求未签名，请用 --key 指定私钥", "the request is not signed: name a key with --key")
        )
    return sign_request(SigningKey.load(key), request, tag=tag, now=SystemClock().now())


def _explain(request: HttpRequest, key: Path | None, tag: Tag, says: Speaker) -> int:
    """Say what is wrong, if anything; the number of faults."""
    public = SigningKey.load(key).public if key is not None else None
    digest = request.one("content-digest")
    if digest is not None and digest != content_digest(request.body):
        wanted = content_digest(request.body)
        says.bad(f"Content-Digest 与正文不符，应为 {wanted}", f"Content-Digest is not the body's: it should be {wanted}")
        return 1
    if public is None:
        says.say("未给出密钥，不验证签名值", "no key given: the signature's value is not checked")
        return 0
    try:
        verify_request(request, tag=tag, key_of=lambda kid: public if kid == public.kid else None, now=SystemClock().now())
    except Problem as problem:
        why = problem.reason or problem.detail
        says.bad(f"签名不成立：{problem.kind.title_zh}（{why}）", f"the signature does not hold: {problem.kind.title_en} ({why})")
        return 1
    says.good("签名成立", "the signature holds")
    return 0


def compare_bases(ours: bytes, theirs: bytes, says: Speaker) -> int:
    """Say at which line and character two signature bases first differ; 1 if they do."""
    if ours == theirs:
        says.good("签名基串一致", "the signature bases are equal")
        return 0
    left, right = ours.decode("ascii").split("\n"), theirs.decode("utf-8", errors="replace").split("\n")
    for number, (mine, yours) in enumerate(zip_longest(left, right), start=1):
        if mine == yours:
            continue
        if mine is None or yours is None:
            says.bad(f"第 {number} 行：行数不同", f"line {number}: one of them ends here")
        else:
            at = next((i for i, (a, b) in enumerate(zip_longest(mine, yours)) if a != b), 0)
            says.bad(f"第 {number} 行第 {at + 1} 个字符起不同", f"line {number} differs from character {at + 1} on")
            says.say(f"   应为 {mine}\n   实为 {yours}", f"   wanted {mine}\n   given  {yours}")
        break
    return 1
