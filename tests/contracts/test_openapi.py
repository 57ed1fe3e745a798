"""The API documents that are committed are those of the code."""

from __future__ import annotations

import json

import pytest

from tests.contracts.documents import APPS, DIRECTORY, document


@pytest.mark.parametrize("name", sorted(APPS))
def test_committed_document_is_what_the_code_says(name: str) -> None:
    committed = (DIRECTORY / f"{name}.json").read_text(encoding="utf-8")
    assert committed == document(name), "run `python -m tests.contracts.documents` and review the difference"


@pytest.mark.parametrize("name", sorted(APPS))
def test_every_operation_says_which_problems_it_may_answer_with(name: str) -> None:
    made = json.loads(document(name))
    operations = [(path, verb, operation) for path, verbs in made["paths"].items() for verb, operation in verbs.items()]
    assert operations
    for path, verb, operation in operations:
        assert operation.get("summary") or operation.get("description"), (path, verb)
        if verb != "get":
            assert any(status.startswith("4") for status in operation["responses"]), (path, verb)


def test_no_document_lets_a_person_into_a_path_or_query() -> None:
    for name in APPS:
        made = json.loads(document(name))
        for path, verbs in made["paths"].items():
            for operation in verbs.values():
                named = {
                    parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] in ("path", "query")
                }
                assert not named & {"subject", "person", "id_number", "officer", "ward", "guardian"}, path
