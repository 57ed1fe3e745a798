"""The closed list of refusals and failures (RFC 9457), spoken to X-Road clients and to ours in one body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Retry(StrEnum):
    """What a caller may do after a problem."""

    NO = "no"
    SAME_ID = "same-id"
    NEW_ID = "new-id"
    AFTER_CONSENT = "after-consent"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """错误类型. One row of the closed list: code, HTTP status, X-Road's type (7.8 spelling), titles, retry, advice."""

    code: str
    status: int
    xroad_type: str
    title_en: str
    title_zh: str
    retry: Retry
    advice_en: str
    advice_zh: str


_CLIENT = "server.clientproxy."
_SERVER = "server.serverproxy."
_DENIED = _SERVER + "access_denied"
_BAD_REQUEST = _CLIENT + "invalid_request"

# fmt: off
_ROWS: tuple[tuple[str, int, str, str, str, Retry, str, str], ...] = (
    ("malformed-request", 400, _BAD_REQUEST, "The request is not well formed", "请求格式不正确", Retry.NO,
     "Correct the request as the detail says.", "请按说明修改请求。"),
    ("signature-invalid", 401, _CLIENT + "invalid_signature_value", "The signature does not verify", "签名验证失败", Retry.NO,
     "Compare the signature base with `yitong sign --explain`; check that the key is registered.",
     "请用 yitong sign --explain 对照签名基串，并确认密钥已登记。"),
    ("signature-stale", 401, _CLIENT + "invalid_signature_value", "The signature is too old or from the future",
     "签名时间超出允许范围", Retry.NO, "Synchronise the clock and sign anew.", "请校准时钟后重新签名。"),
    ("unauthenticated", 401, _CLIENT + "authentication_failed", "Log-in is missing or not valid", "未登录或登录无效", Retry.NO,
     "Log in again.", "请重新登录。"),
    ("tls-authentication-failed", 401, _CLIENT + "ssl_authentication_failed",
     "The connection is not of the kind that this system must use", "连接方式不符合该业务系统的要求", Retry.NO,
     "Connect as the outway's systems file says: over TLS, with the system's own certificate.",
     "请按出口代理配置的方式连接：使用 TLS，并出示该业务系统的证书。"),
    ("forbidden", 403, _DENIED, "This role may not do that", "当前角色无权执行此操作", Retry.NO,
     "Use an account that has the role.", "请使用具备相应角色的账号。"),
    ("member-suspended", 403, _DENIED, "A member or its system is suspended", "部门或业务系统已停用", Retry.NO,
     "Ask the sharing authority why the member is suspended.", "请联系共享主管部门。"),
    ("key-revoked", 403, _DENIED, "A signing key is revoked or not valid now", "签名密钥已吊销或不在有效期", Retry.NO,
     "Enrol a new key.", "请登记新的签名密钥。"),
    ("right-missing", 403, _DENIED, "No access right covers this service", "没有该服务的共享授权", Retry.NO,
     "Apply for the data set.", "请提出共享申请。"),
    ("sharing-refused", 403, _DENIED, "The data set is not shared", "该数据不予共享", Retry.NO,
     "The catalogue names the law that says so.", "目录中载明了不予共享的法律依据。"),
    ("purpose-not-covered", 403, _DENIED, "The right does not cover this purpose", "授权不包含该使用目的", Retry.NO,
     "Use a purpose that the right names, or apply for this one.", "请使用授权载明的事项，或另行申请。"),
    ("item-not-covered", 403, _DENIED, "The right does not cover an item that was asked for", "授权不包含所请求的数据项",
     Retry.NO, "Leave the named items out, or apply for them.", "请去掉所列数据项，或另行申请。"),
    ("outside-time-window", 403, _DENIED, "The right does not hold at this time", "不在授权的时间范围内", Retry.LATER,
     "Ask within the window that the right states.", "请在授权时间范围内请求。"),
    ("consent-required", 403, _DENIED, "The person's consent is needed", "需要数据主体同意", Retry.AFTER_CONSENT,
     "Ask the person for consent and name the grant.", "请征得当事人同意，并在请求中注明同意编号。"),
    ("consent-mismatch", 403, _DENIED, "The consent does not cover this request", "同意与本次请求不符", Retry.AFTER_CONSENT,
     "Ask for consent to exactly this request.", "请就本次请求征得同意。"),
    ("consent-withdrawn", 403, _DENIED, "The consent is withdrawn", "同意已撤回", Retry.AFTER_CONSENT,
     "The person has withdrawn; do not ask again without need.", "当事人已撤回同意。"),
    ("consent-used-up", 403, _DENIED, "The consent has been used as often as it allows", "同意的使用次数已用完",
     Retry.AFTER_CONSENT, "Ask the person again if it is needed.", "如确有需要，请重新征得同意。"),
    ("unknown-service", 404, _SERVER + "unknown_service", "No such service", "没有该服务", Retry.NO,
     "Look the service up in the catalogue.", "请在目录中查询服务。"),
    ("not-found", 404, _SERVER + "not_found", "Not found", "未找到", Retry.NO, "Check the address.", "请检查地址。"),
    ("method-not-allowed", 405, _BAD_REQUEST, "The method is not allowed here", "不允许的请求方法", Retry.NO,
     "A data service takes POST only.", "数据服务只接受 POST。"),
    ("request-replayed", 409, _BAD_REQUEST, "This signed request was made before", "该签名请求已处理过", Retry.NEW_ID,
     "Send a new request id.", "请使用新的请求编号。"),
    ("conflict", 409, _BAD_REQUEST, "Another request used this id, or the state has moved on", "编号已被使用，或状态已改变",
     Retry.NEW_ID, "Use a new request id; read the current state.", "请使用新的编号，或先读取当前状态。"),
    ("too-large", 413, _BAD_REQUEST, "Too large", "内容过大", Retry.NO, "Ask for less.", "请减少请求内容。"),
    ("quota-exceeded", 429, _DENIED, "The quota is used up", "超过限额", Retry.LATER, "Wait as Retry-After says.",
     "请按 Retry-After 等待。"),
    ("internal", 500, _SERVER + "internal_error", "Something failed here", "系统内部错误", Retry.LATER,
     "Give the request id to the operator.", "请将请求编号告知运维人员。"),
    ("provider-failed", 502, _SERVER + "service_failed", "The provider could not answer", "提供部门未能应答", Retry.NEW_ID,
     "Give the request id to the provider.", "请将请求编号告知提供部门。"),
    ("record-invalid", 502, _SERVER + "service_failed", "The provider's record does not verify", "数据凭据验证失败",
     Retry.NEW_ID, "Give the request id to the provider.", "请将请求编号告知提供部门。"),
    ("record-incomplete", 502, _SERVER + "service_failed", "The record lacks what was asked for", "数据凭据不完整",
     Retry.NEW_ID, "Do not use the answer; report it.", "请勿使用该应答，并予以报告。"),
    ("audit-unavailable", 503, _SERVER + "internal_error", "The audit record cannot be written, so nothing is released",
     "审计暂不可用，未放行任何数据", Retry.SAME_ID, "Try again.", "请稍后重试。"),
    ("registry-stale", 503, _SERVER + "global_conf_outdated", "The configuration snapshot is too old", "配置快照已过期",
     Retry.SAME_ID, "Try again.", "请稍后重试。"),
    ("lapsed", 503, _SERVER + "internal_error", "Something the release stands on lapsed meanwhile", "放行依据已过期",
     Retry.SAME_ID, "Sign anew and try again.", "请重新签名后重试。"),
    ("overloaded", 503, _SERVER + "internal_error", "Too much to do at the moment", "系统繁忙", Retry.SAME_ID,
     "Try again a little later.", "请稍后重试。"),
    ("provider-unavailable", 503, _SERVER + "network_error", "The provider does not answer", "提供部门服务不可用",
     Retry.SAME_ID, "Try again later.", "请稍后重试。"),
    ("identity-unavailable", 503, _SERVER + "internal_error", "The consent cannot be looked up", "暂时无法核验同意",
     Retry.SAME_ID, "Try again later.", "请稍后重试。"),
    ("deadline-exceeded", 504, _SERVER + "service_failed", "Not done in time", "处理超时", Retry.SAME_ID,
     "Sign anew and try again with the same request id.", "请重新签名，并以同一请求编号重试。"),
)
# fmt: on

PROBLEMS: Mapping[str, ProblemKind] = MappingProxyType({row[0]: ProblemKind(*row) for row in _ROWS})


class Problem(Exception):
    """错误响应. A refusal or failure with a stable code.

    `detail` may be said to the caller; `reason` stands in the log only, and neither holds personal data.
    `extra` members are added to the problem document; they never replace one of its own.
    """

    def __init__(self, code: str, detail: str = "", *, reason: str = "", **extra: Any) -> None:
        """Raise KeyError at once if `code` is not of the closed list."""
        self.kind = PROBLEMS[code]
        self.code = code
        self.detail = detail or self.kind.title_en
        self.reason = reason
        self.extra = extra
        super().__init__(code, self.detail, reason)

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.kind.status

    def document(self, request_id: str | None = None, *, data_left: bool = False, language: str = "en") -> dict[str, Any]:
        """The JSON body: X-Road's `type`, `message`, `detail` beside our `code`; `title` in `language` (en | zh)."""
        chinese = language == "zh"
        title = self.kind.title_zh if chinese else self.kind.title_en
        detail = title if self.detail == self.kind.title_en else self.detail
        document = {
            "type": self.kind.xroad_type,
            "code": self.code,
            "title": title,
            "status": self.status,
            "detail": detail,
            "message": detail,
            "advice": self.kind.advice_zh if chinese else self.kind.advice_en,
            "retry": self.kind.retry.value,
            "request_id": request_id,
            "data_left": data_left or self.extra.get("data_left") is True,
            "explain": "/explain",
        }
        return {**self.extra, **document}  # an extra member never takes the place of one of these
