"""`yitong key`: a subsystem's signing keys — made, enrolled, rotated, revoked. Rights stay what they are."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deploy.home import INSTANCE, SANDBOX, Home, default_home, key_owners, provider_subsystems
from deploy.running import HomeOption, LanguageOption, run_in_session
from deploy.session import Session
from deploy.speech import speaker
from deploy.supervisor import read_status
from exchange.clock import rfc3339
from exchange.keys import SigningKey
from identity.client import KeyUse, RegisteredKey

app = typer.Typer(no_args_is_help=True)

Owner = Annotated[str, typer.Argument(help="instance/class/member/subsystem")]
KeyFile = Annotated[Path, typer.Argument(dir_okay=False, help="PKCS#8 PEM, mode 0600.")]
Account = Annotated[str, typer.Option("--account", help="Who does it: the member's integrator, or a registrar.")]


def _place(home: Path | None, owner: str) -> tuple[Path, str]:
    base = Home(home or default_home())
    return (base.sandbox.root, SANDBOX) if owner.startswith(f"{SANDBOX}/") else (base.root, INSTANCE)


@app.command("new")
def new(file: KeyFile, language: LanguageOption = None) -> None:
    """Make a key; the file must not be there yet. 生成密钥."""
    says = speaker(language)
    if file.exists():
        says.bad(f"{file} 已存在", f"{file} exists")
        raise typer.Exit(1)
    key = SigningKey.generate()
    key.save(file)
    says.good(f"已生成，kid {key.kid}", f"made, kid {key.kid}")


@app.command("enrol")
def enrol(
    owner: Owner, file: KeyFile, account: Account = "integrator", home: HomeOption = None, language: LanguageOption = None
) -> None:
    """Enrol a key for a subsystem, proving that it is held. 登记密钥."""
    says, (root, instance) = speaker(language), _place(home, owner)

    async def work(session: Session) -> RegisteredKey:
        token = await session.token(account)
        return await session.identity.enrol_key(token, SigningKey.load(file), owner, KeyUse.SUBSYSTEM)

    key = run_in_session(root, says, work, instance=instance)
    says.good(f"已登记，有效至 {rfc3339(key.valid_until)}", f"enrolled, valid until {rfc3339(key.valid_until)}")


@app.command("rotate")
def rotate(owner: Owner, old: KeyFile, new_file: KeyFile, home: HomeOption = None, language: LanguageOption = None) -> None:
    """Enrol the next key, signed for by the active one; both count until the old one is revoked, and rights stay. 轮换密钥."""
    says, (root, instance) = speaker(language), _place(home, owner)

    async def work(session: Session) -> RegisteredKey:
        return await session.identity.rotate_key(SigningKey.load(old), SigningKey.load(new_file), owner)

    key = run_in_session(root, says, work, instance=instance)
    says.good(f"新密钥已登记，kid {key.kid}", f"the next key is enrolled, kid {key.kid}")


@app.command("use")
def use(owner: Owner, file: KeyFile, home: HomeOption = None, language: LanguageOption = None) -> None:
    """Have a system's running process sign with another enrolled key, as soon as everybody can verify it. 启用密钥."""
    says, (root, instance) = speaker(language), _place(home, owner)
    base = Home(root, instance)
    name = {known: name for name, known in key_owners(instance).items()}.get(owner)
    if name is None:
        raise typer.BadParameter("the key of that system does not lie in this home")
    SigningKey.load(file).save(base.key_file(name))
    for component in read_status(root) if owner in provider_subsystems(instance).values() else ():
        if component.name == name and component.pid is not None and component.is_running():
            os.kill(component.pid, signal.SIGHUP)
    says.good("已启用；各网关均可验证后开始使用新密钥", "taken over; it signs when every gateway can verify it")


@app.command("revoke")
def revoke(
    owner: Owner,
    kid: Annotated[str, typer.Argument(help="RFC 7638 thumbprint")],
    reason: Annotated[str, typer.Option("--reason")],
    account: Account = "integrator",
    home: HomeOption = None,
    language: LanguageOption = None,
) -> None:
    """Revoke a key for good: when this returns, nothing is released on it. 吊销密钥."""
    says, (root, instance) = speaker(language), _place(home, owner)

    async def work(session: Session) -> RegisteredKey:
        return await session.identity.revoke_key(await session.token(account), kid, reason)

    run_in_session(root, says, work, instance=instance)
    says.good("已吊销", "revoked")


@app.command("list")
def show(owner: Owner, home: HomeOption = None, language: LanguageOption = None) -> None:
    """The keys of a subsystem. 密钥列表."""
    says, (root, instance) = speaker(language), _place(home, owner)

    async def work(session: Session) -> list[RegisteredKey]:
        return [key for key in await session.identity.list_keys() if key.owner == owner]

    table = Table("kid", *(says.words(*title) for title in (("状态", "state"), ("有效至", "until"))))
    for key in run_in_session(root, says, work, instance=instance):
        table.add_row(key.kid, key.state.value, rfc3339(key.valid_until))
    says.console.print(table)
