"""The typed way for auditors and monitors to read the log over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote

import httpx2
from pydantic import BaseModel

from audit.accesses import AccessesRequest
from audit.affected import AffectedPage, AffectedRequest
from audit.anomalies import Anomalies, AnomalyRequest
from audit.export import ExportRequest
from audit.export_statement import ExportPage
from audit.provided import ProvidedPage, ProvidedRequest
from audit.request_record import RecordRequest, RequestRecord
from audit.search import EntryLine, OpenedEntry, SearchPage, SearchRequest
from audit.statistics import Statistics, StatisticsRequest, UnusedRights, UnusedRightsRequest
from audit.tiles import ENTRIES, TileName
from exchange.canonical import b64url, canonical, parse_json
from exchange.problem import PROBLEMS, Problem

MAX_ANSWER_BYTES: Final = 67_108_864
_SECONDS: Final = 20
_KNOWN: Final = frozenset({"type", "code", "title", "status", "detail", "message", "advice", "retry", "explain", "request_id"})


class AuditClient:
    """审计客户端. Each method raises the Problem that the audit answered with, or `provider-unavailable` if it did not."""

    def __init__(self, url: str, http: httpx2.AsyncClient, token: Callable[[], str] | None = None) -> None:
        """`url` is the audit's base URL; `token` gives an auditor's access token, needed for all but the open log."""
        self._url, self._http, self._token = url.rstrip("/"), http, token

    async def search(self, request: SearchRequest) -> SearchPage:
        """One page of entries, newest first."""
        return SearchPage.model_validate_json(await self._post("/search", request))

    async def affected(self, request: AffectedRequest) -> AffectedPage:
        """One page of whom a ground affected."""
        return AffectedPage.model_validate_json(await self._post("/affected", request))

    async def statistics(self, request: StatisticsRequest) -> Statistics:
        """Entries counted."""
        return Statistics.model_validate_json(await self._post("/statistics", request))

    async def anomalies(self, request: AnomalyRequest) -> Anomalies:
        """What the rules find unusual."""
        return Anomalies.model_validate_json(await self._post("/anomalies", request))

    async def record(self, request: RecordRequest) -> RequestRecord:
        """All that the log holds of one request."""
        return RequestRecord.model_validate_json(await self._post("/records", request))

    async def unused_rights(self, request: UnusedRightsRequest) -> UnusedRights:
        """Which of the rights handed in nobody used."""
        return UnusedRights.model_validate_json(await self._post("/statistics/unused-rights", request))

    async def accesses(self, request: AccessesRequest) -> list[dict[str, Any]]:
        """All pages of one's own list, as they came and not verified: see `verify_list.verify_list`."""
        headers = {"content-type": "application/json", **self._authorization()}
        pages: list[dict[str, Any]] = []
        while True:
            content = request.model_dump_json(exclude_none=True).encode()
            pages.append(parse_json(await self._send("POST", "/my/accesses", headers, content), max_bytes=MAX_ANSWER_BYTES))
            if pages[-1]["next"] is None:
                return pages
            request = request.model_copy(update={"after": pages[-1]["next"]})

    async def all_accesses(self) -> list[list[dict[str, Any]]]:
        """One's own lists of all years that are kept, oldest first, each as `accesses` gives it.

        The empty ones too: that a list is empty is signed, and the counts that a page gives of the others are not.
        """
        newest = await self.accesses(AccessesRequest())
        older = [each["epoch"] for each in newest[0]["chains"] if each["epoch"] < newest[0]["epoch"]]
        return [*[await self.accesses(AccessesRequest(epoch=epoch)) for epoch in older], newest]

    async def export(self, request: ExportRequest) -> ExportPage:
        """One page of an export, not verified: see `verify_export`."""
        return ExportPage.model_validate_json(await self._post("/export", request))

    async def provided(self, request: ProvidedRequest) -> ProvidedPage:
        """One page of what the log holds of a provider's answers."""
        return ProvidedPage.model_validate_json(await self._post("/provided", request))

    async def search_all(self, request: SearchRequest) -> AsyncIterator[EntryLine]:
        """The entries of all pages; each page is a look of its own."""
        while True:
            page = await self.search(request)
            for line in page.entries:
                yield line
            if page.next is None:
                return
            request = request.model_copy(update={"before": page.next})

    async def entry(self, serial: int, reason: str) -> OpenedEntry:
        """One entry with its body."""
        return OpenedEntry.model_validate_json(await self._send("GET", f"/entries/{serial}", self._reasoned(reason)))

    async def bundle(self, index: int, width: int, reason: str) -> bytes:
        """A bundle of entries, as `tiles.decode_bundle` reads it."""
        return await self._send("GET", f"/log/{TileName(ENTRIES, index, width).path}", self._reasoned(reason))

    async def checkpoint(self) -> bytes:
        """The newest signed checkpoint, not verified."""
        return await self._send("GET", "/log/checkpoint", {})

    async def tile(self, name: TileName) -> bytes:
        """The hashes of a tile, not verified."""
        return await self._send("GET", f"/log/{name.path}", {})

    async def proof(self, leaf: bytes, *, witnessed: bool = False, size: int | None = None) -> bytes:
        """The `.tlog-proof` of an entry, not verified: see `proof.verify_proof`.

        Against the newest checkpoint, the newest that is `witnessed`, or the one of a `size`.
        """
        chosen = {"witnessed": True} if witnessed else {} if size is None else {"size": size}
        content = canonical({"entry": b64url(leaf), **chosen})
        return await self._send("POST", "/log/proof", {"content-type": "application/json"}, content)

    async def timestamp(self, size: int) -> tuple[int, bytes]:
        """The time-stamp over the smallest stamped checkpoint of at least that size: its size, and the response, not verified."""
        answer = await self._answer("GET", f"/log/timestamp/{size}", {})
        return int(answer.headers["exchange-log-size"]), answer.content

    async def _post(self, path: str, request: BaseModel) -> bytes:
        headers = {"content-type": "application/json", **self._authorization()}
        return await self._send("POST", path, headers, request.model_dump_json(exclude_none=True).encode())

    def _authorization(self) -> dict[str, str]:
        return {} if self._token is None else {"authorization": f"Bearer {self._token()}"}

    def _reasoned(self, reason: str) -> dict[str, str]:
        return {"exchange-reason": quote(reason), **self._authorization()}

    async def _send(self, method: str, path: str, headers: dict[str, str], content: bytes | None = None) -> bytes:
        return (await self._answer(method, path, headers, content)).content

    async def _answer(self, method: str, path: str, headers: dict[str, str], content: bytes | None = None) -> httpx2.Response:
        try:
            answer = await self._http.request(method, self._url + path, headers=headers, content=content, timeout=_SECONDS)
        except httpx2.HTTPError as error:
            raise Problem("provider-unavailable", "the audit cannot be reached", reason=type(error).__name__) from error
        if answer.status_code != 200:
            raise _problem(answer.status_code, answer.content)
        if len(answer.content) > MAX_ANSWER_BYTES:
            raise Problem("too-large", "the answer is larger than an answer may be")
        return answer


def _problem(status: int, content: bytes) -> Problem:
    try:
        document: dict[str, Any] = parse_json(content)
        code, detail = document["code"], document["detail"]
    except (Problem, KeyError, TypeError):
        return Problem("internal", f"the audit answered {status} with something that is no problem document")
    if code not in PROBLEMS or not isinstance(detail, str):
        return Problem("internal", f"the audit answered {status} with an unknown code")
    return Problem(code, detail, **{name: value for name, value in document.items() if name not in _KNOWN})
