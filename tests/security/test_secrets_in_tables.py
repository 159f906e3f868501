"""What stands below the name of a secret in a table goes; the rest of the table stays."""

from __future__ import annotations

import pytest

from lockjaw.harness.kit.redaction import Redactor

SALT = bytes(range(32))


@pytest.mark.parametrize(
    "table",
    [
        "id,user,password,role\n1,carlotta,winterly,ops\n2,rosalind,morning,ops\n",
        '"id","login","API Token","role"\n"1","carlotta","winterly","ops"\n"2","rosalind","morning, late","ops"\n',
        "| id | user | **Passwort** | role |\n|---|:--|---|---|\n| 1 | carlotta | winterly | ops |\n"
        "| 2 | rosalind | morning | ops |",
        "id\tuser\tsecret\trole\r\n1\tcarlotta\twinterly\tops\r\n2\trosalind\tmorning\tops\r\n",
        r"log: id;user;passwd;role\n1;carlotta;winterly;ops\n2;rosalind;morning;ops\n",
    ],
    ids=["csv", "quoted", "markdown", "tabs", "escaped"],
)  # fmt: skip
def test_secrets_and_their_users_go_and_the_rest_stays(table: str) -> None:
    shown = Redactor(SALT).text(table)

    assert not [secret for secret in ("carlotta", "winterly", "rosalind", "morning") if secret in shown]
    assert shown.count("ops") == 2
    assert "role" in shown


def test_a_table_without_secrets_stays_as_it_is() -> None:
    table = "policy,user,tokens,ms\ntakeover,owner,120,90000\nfresh-session,owner,80,1200\n"
    assert Redactor(SALT).text(table) == table


def test_a_table_ends_with_its_last_row() -> None:
    assert Redactor(SALT).text("user,password\na,b\n\nplain, words\n").endswith("\n\nplain, words\n")
