"""Keys: who may enrol them, that only their holder can, and how they end."""

from __future__ import annotations

import pytest
from cryptography import x509

from exchange.clock import parse_rfc3339
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from identity.certificates import make_request
from identity.client import KeyUse
from identity.model import KeyState
from tests.identity.office import CONSUMER, URL, Office

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAX = "CN-YA/GOV/tax/taxation"
LISTED = "CN-YA/GOV/tax/listed"


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
async def test_an_enrolled_key_has_a_certificate_of_the_authority(shared_office: Office, alg: str) -> None:
    office = shared_office
    key = SigningKey.generate(alg)
    enrolled = await office.client.enrol_key(await office.token("registrar"), key, CONSUMER, KeyUse.SUBSYSTEM)
    certificate = x509.load_pem_x509_certificate(enrolled.certificate.encode())
    authority = x509.load_pem_x509_certificate((await office.client.authority()).encode())
    certificate.verify_directly_issued_by(authority)
    assert VerifyKey.of_public(certificate.public_key()).kid == key.kid == enrolled.kid
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"urn:yitong:{CONSUMER}")]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc.timestamp() == office.clock.now() == enrolled.valid_from
    assert certificate.not_valid_after_utc.timestamp() == enrolled.valid_until - 1
    assert await office.client.find_key(key.kid) == enrolled


async def test_the_same_key_is_never_enrolled_twice(shared_office: Office) -> None:
    office = shared_office
    token, key = await office.token("registrar"), SigningKey.generate()
    enrolled = await office.client.enrol_key(token, key, CONSUMER, KeyUse.SUBSYSTEM)
    for owner in (CONSUMER, TAX):
        with pytest.raises(Problem, match="conflict"):
            await office.client.enrol_key(token, key, owner, KeyUse.SUBSYSTEM)
    await office.client.revoke_key(token, key.kid, "lost")
    body = {"owner": CONSUMER, "use": "subsystem", "csr": make_request(key, CONSUMER)}
    assert (await office.call("POST", "/keys", account="registrar", body=body)).json()["code"] == "conflict"
    assert (await office.client.find_key(key.kid)).certificate == enrolled.certificate


async def test_an_integrator_works_for_subsystems_of_the_own_member_only(shared_office: Office) -> None:
    office = shared_office
    token = await office.token("integrator")
    own = await office.client.enrol_key(token, SigningKey.generate(), CONSUMER, KeyUse.SUBSYSTEM)
    for owner, use in ((TAX, KeyUse.SUBSYSTEM), ("CN-YA/GOV/real-estate-2/x", KeyUse.SUBSYSTEM), ("gateway-1", KeyUse.GATEWAY)):
        with pytest.raises(Problem, match="forbidden"):
            await office.client.enrol_key(token, SigningKey.generate(), owner, use)
    others = await office.enrolled(TAX)
    with pytest.raises(Problem, match="forbidden"):
        await office.client.revoke_key(token, others.kid, "not mine")
    assert (await office.client.revoke_key(token, own.kid, "lost")).state is KeyState.REVOKED


async def test_an_active_key_brings_in_the_next_one_of_its_owner(shared_office: Office) -> None:
    office = shared_office
    old, new = await office.enrolled(CONSUMER), SigningKey.generate("Ed25519")
    followed = await office.client.rotate_key(old, new, CONSUMER)
    assert (followed.owner, followed.use, followed.rotated_from) == (CONSUMER, KeyUse.SUBSYSTEM, old.kid)
    assert (await office.client.find_key(old.kid)).state is KeyState.ACTIVE
    office.keys[CONSUMER] = new
    assert (await office.ask())["state"] == "requested"


async def test_only_the_key_itself_brings_in_its_successor(shared_office: Office) -> None:
    office = shared_office
    old, other = await office.enrolled(CONSUMER), await office.enrolled(TAX)
    with pytest.raises(Problem, match="malformed-request"):  # signed by the owner, but made for somebody else
        await office.client._wire.signed(old, CONSUMER, "POST", f"/keys/{old.kid}/rotation", {"csr": make_request(other, TAX)})
    body = {"csr": make_request(SigningKey.generate(), CONSUMER)}
    with pytest.raises(Problem, match="forbidden"):
        await office.client._wire.signed(other, TAX, "POST", f"/keys/{old.kid}/rotation", body)
    with pytest.raises(Problem, match="signature-invalid"):  # another's key under the owner's name
        await office.client._wire.signed(other, CONSUMER, "POST", f"/keys/{old.kid}/rotation", body)
    with pytest.raises(Problem, match="conflict"):
        await office.client.rotate_key(old, old, CONSUMER)


async def test_identity_publishes_the_key_that_signs_grants_and_nobody_revokes_it_here(shared_office: Office) -> None:
    office = shared_office
    own = office.desks.consents.key
    assert (await office.client.find_key(own.kid)).use is KeyUse.IDENTITY
    for account in ("registrar", "security"):
        with pytest.raises(Problem, match="forbidden"):
            await office.client.revoke_key(await office.token(account), own.kid, "no")


async def test_the_list_of_keys_is_public_and_comes_in_pages(shared_office: Office) -> None:
    office = shared_office
    token, made = await office.token("registrar"), [SigningKey.generate("Ed25519") for _ in range(3)]
    mine = {(await office.client.enrol_key(token, key, LISTED, KeyUse.SUBSYSTEM)).kid for key in made}
    listed = [key.kid for key in await office.client.list_keys()]
    assert mine < set(listed)
    assert listed == sorted(listed)
    page = await office.desks.keys.page(after=listed[1], owner=None, limit=2)
    assert [key.kid for key in page] == listed[2:4]
    answer = await office.http.get(f"{URL}/keys?owner={LISTED}")
    assert {row["kid"] for row in answer.json()["keys"]} == mine
    assert parse_rfc3339(answer.json()["keys"][0]["valid_from"]) == office.clock.now()


async def test_an_unknown_key_is_not_found(shared_office: Office) -> None:
    office = shared_office
    answer = await office.call("GET", f"/keys/{'A' * 43}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert (await office.call("GET", "/keys/short")).status_code == 400
    answer = await office.call("POST", f"/keys/{'A' * 43}/revocation", account="security", body={"reason": "x"})
    assert answer.status_code == 404
