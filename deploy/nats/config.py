"""The configuration file of a nats-server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from deploy.nats.users import NatsUser

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
ROUTE_USER = "route"


@dataclass(frozen=True, slots=True)
class Seat:
    """A server's place in a cluster: where it waits for its peers, where they wait, and the password all of them prove."""

    cluster: str
    route_port: int
    peer_ports: tuple[int, ...]
    password: str = field(repr=False)


def server_config(
    name: str,
    *,
    host: str,
    port: int,
    store: Path,
    users: Sequence[NatsUser],
    seat: Seat | None = None,
    max_file_store: str = "8GB",
) -> str:
    """Return the text of the file; without a `seat` the server stands alone.

    `sync_interval: always` is what makes a JetStream acknowledgement mean "on the disk". There is no monitoring port, no
    websocket, MQTT or leaf node listener and no `no_auth_user`: who does not prove an NKey is not on the bus.
    """
    rows = "\n".join(f"      {_user(user)}" for user in users)
    return f"""\
server_name: {_quoted(name)}
listen: {_quoted(f"{host}:{port}")}
max_payload: {MAX_PAYLOAD_BYTES}
max_connections: 1000
write_deadline: "5s"
lame_duck_duration: "30s"
lame_duck_grace_period: "2s"
logtime_utc: true
jetstream {{
  store_dir: {_quoted(str(store))}
  sync_interval: always
  max_file_store: {max_file_store}
}}
accounts {{
  SYS {{ users: [] }}
  EXCHANGE {{
    jetstream: enabled
    users: [
{rows}
    ]
  }}
}}
system_account: SYS
{_cluster(seat, host) if seat else ""}"""


def _cluster(seat: Seat, host: str) -> str:
    # The password stands in this file, which its owner alone reads: arguments and the server's log show neither it nor the URLs.
    routes = [f"nats-route://{ROUTE_USER}:{quote(seat.password, safe='')}@{host}:{port}" for port in seat.peer_ports]
    return f"""\
cluster {{
  name: {_quoted(seat.cluster)}
  listen: {_quoted(f"{host}:{seat.route_port}")}
  authorization {{ user: {_quoted(ROUTE_USER)}, password: {_quoted(seat.password)}, timeout: 2 }}
  routes: {json.dumps(routes)}
}}
"""


def _user(user: NatsUser) -> str:
    said, heard = _list("publish", user.permission.publish), _list("subscribe", user.permission.subscribe)
    return f"{{ nkey: {user.public_key}, permissions: {{ {said}, {heard} }} }}"


def _list(verb: str, subjects: Sequence[str]) -> str:
    # An empty list of what is allowed would mean everything.
    return f"{verb}: {{ allow: {json.dumps(list(subjects))} }}" if subjects else f'{verb}: {{ deny: [">"] }}'


def _quoted(text: str) -> str:
    return json.dumps(text)
