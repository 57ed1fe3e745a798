"""The walk over a log as it is published finds it whole, or says the first thing that is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from audit.findings import Fault, Finding
from audit.fsck import main
from audit.fsck_published import DirectorySource, fsck_published
from audit.note import VerifierKey
from audit.tiles import changed_bundles, changed_tiles, encode_bundle
from exchange.keys import SigningKey
from tests.audit.log_directory import write_log_directory
from tests.audit.reference import LOG, LOG_KEY, ORIGIN

ENTRIES = [b'{"entry":%d}' % number for number in range(600)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log")
    write_log_directory(path, ENTRIES, origin=ORIGIN, key=LOG_KEY)
    return path


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "log"))


async def test_a_published_log_that_is_whole_is_found_whole(published: Path) -> None:
    report = await fsck_published(DirectorySource(published), LOG)
    assert (report.findings, report.size, report.checkpoints) == ((), 600, 1)


@pytest.mark.invariant("I-14")
async def test_a_flipped_byte_in_any_published_file_is_found(copied: Path) -> None:
    paths = ["checkpoint", *(name.path for name in changed_tiles(0, 600)), *(name.path for name in changed_bundles(0, 600))]
    assert len(paths) == 8
    for path in paths:
        whole = (copied / path).read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            (copied / path).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            report = await fsck_published(DirectorySource(copied), LOG)
            assert not report.ok, (path, place)
        (copied / path).write_bytes(whole)
    assert (await fsck_published(DirectorySource(copied), LOG)).ok


async def test_the_first_wrong_entry_of_a_published_log_is_named(copied: Path) -> None:
    bundle = copied / "tile/entries/001"
    bundle.write_bytes(encode_bundle([*ENTRIES[256:300], b"forged", *ENTRIES[301:512]]))
    report = await fsck_published(DirectorySource(copied), LOG)
    assert report.findings == (Finding(Fault.TREE, tree_index=300),)
    bundle.write_bytes(encode_bundle(ENTRIES[256:400]))
    report = await fsck_published(DirectorySource(copied), LOG)
    assert report.first == Finding(Fault.ENTRY_MISSING, "tile/entries/001 holds 144 entries", tree_index=400)
    bundle.unlink()
    report = await fsck_published(DirectorySource(copied), LOG)
    assert report.first == Finding(Fault.ENTRY_MISSING, "tile/entries/001: not there", tree_index=256)


async def test_a_log_of_another_key_is_refused(published: Path) -> None:
    other = VerifierKey.of(ORIGIN, SigningKey.generate("Ed25519"))
    report = await fsck_published(DirectorySource(published), other)
    assert [finding.fault for finding in report.findings] == [Fault.CHECKPOINT]


# --- On the command line ----------------------------------------------------------------------------------------------------


def test_the_command_says_the_first_wrong_thing_and_fails(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--log", str(copied), "--vkey", str(LOG)]
    assert main(arguments) == 0
    assert "完好 WHOLE" in capsys.readouterr().out
    tile = copied / "tile/0/000"
    tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
    assert main([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["findings"][0]["fault"], document["findings"][0]["tree_index"]) == (False, "tree", 0)
    assert main(arguments) == 1
    assert "[tree, index 0]" in capsys.readouterr().out
