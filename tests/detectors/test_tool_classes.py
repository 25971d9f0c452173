"""The class of a tool by its name is a guess, but a stated one."""

import pytest

from tachograph.detectors.tool_classes import risk_of, trust_of, words_of


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        ("get_payment_methods", "read"),
        ("send_money", "egress"),
        ("GmailSendEmail", "egress"),
        ("deleteRow", "destructive"),
        ("drop-table", "destructive"),
        ("run_ipython", "execute"),
        ("create_file", "write"),
        ("read_deleted_items", "read"),
        ("HTTPFetch", "read"),
        ("frobnicate", None),
        ("", None),
    ],
)
def test_the_first_verb_of_a_name_decides(name: str, risk: str | None) -> None:
    assert risk_of(name) == risk


@pytest.mark.parametrize(
    ("name", "trust"),
    [
        ("get_webpage", "untrusted"),
        ("read_inbox", "untrusted"),
        ("search_emails", "untrusted"),
        ("get_balance", None),
        ("send_email", None),
    ],
)
def test_only_reading_what_outsiders_write_brings_in_untrusted_content(
    name: str, trust: str | None
) -> None:
    assert trust_of(name) == trust


def test_a_name_of_any_length_takes_bounded_work() -> None:
    assert len(words_of("aB" * 10_000)) <= 200
