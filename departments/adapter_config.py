"""Settings of an adapter's process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from departments.config import Settings
from exchange.address import Network, parse_networks


class AdapterSettings(Settings):
    """What an adapter must be told beside what every department's process is told; `department` is the declaration's member."""

    declaration_file: Path
    """The declaration of the existing system (docs/adapter.md)."""
    adapter_allow_loopback: bool = False
    """Whether the back end may be on this machine."""
    adapter_allow_http: bool = False
    """Whether the back end may be asked without TLS."""
    adapter_denied_addresses: str = ""
    """Networks that no back end may lie in, separated by commas: the exchange's own, for one. It wins over every declaration."""
    adapter_schema_version: int | None = None
    """In a sandbox, whose registry counts versions of its own: the schema version of all data sets, whatever is declared."""
    back_end_connections: int = Field(default=32, ge=1, le=1024)
    """Connections to the back end at most; above that the answer is `overloaded` at once."""

    @field_validator("adapter_denied_addresses")
    @classmethod
    def _networks(cls, text: str) -> str:
        parse_networks(text)
        return text

    @property
    def denied(self) -> tuple[Network, ...]:
        """The denied networks."""
        return parse_networks(self.adapter_denied_addresses)
