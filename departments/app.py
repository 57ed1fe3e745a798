"""One department's process: listens on NATS for the calls to its services, serves health and metrics over HTTP."""

from __future__ import annotations

from fastapi import FastAPI

from departments.config import Settings
from departments.declarations import DEPARTMENTS
from departments.running import Running
from departments.service_form import MEMBER_CLASS
from exchange.identifiers import MemberId
from exchange.log import configure_logging
from exchange.subjects import requests_of_member
from exchange.web import serve


def build(settings: Settings) -> FastAPI:
    """Compose the process. Raises KeyError for a department that is not declared."""
    member = MemberId(settings.instance, MEMBER_CLASS, settings.department)
    return Running(settings, DEPARTMENTS[settings.department], [requests_of_member(member)]).app()


def main() -> None:
    """`python -m departments.app`, configured by YITONG_… variables."""
    settings = Settings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging(settings.department, settings.log_level)
    serve(build(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
