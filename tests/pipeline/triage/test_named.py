"""What the values of a call name, so that two alerts can rest on the same."""

import pytest

from tachograph.pipeline.triage.named import MAX_VALUES, named

ACCOUNT = "xk4410077321"


@pytest.mark.parametrize(
    ("values", "shared"),
    [
        # Whatever stands beside an account, it is the same account.
        (ACCOUNT, {ACCOUNT}),
        (f"2031-02-28, {ACCOUNT}", {ACCOUNT}),
        (f"{ACCOUNT}, phone number, 18:30", {ACCOUNT}),
        (f"ann@mail.example, {ACCOUNT}", {f"ann@mail.example, {ACCOUNT}", ACCOUNT}),
        ("ssh-rsa aaaab3nza1yc2e55wq71", {"ssh-rsa aaaab3nza1yc2e55wq71"}),
        # A colleague, a shop, a place: many come by them, so they join only with what is beside.
        ("ann@mail.example, shop.example/sale", {"ann@mail.example, shop.example/sale"}),
        ("shop.example/sale, ann@mail.example", {"ann@mail.example, shop.example/sale"}),
        ("203.0.113.9", {"203.0.113.9"}), ("192.168.100.200", {"192.168.100.200"}),
        (f"203.0.113.9, {ACCOUNT}", {f"203.0.113.9, {ACCOUNT}", ACCOUNT}),
        *(
            (f"{place}, {ACCOUNT}", {f"{place}, {ACCOUNT}", ACCOUNT})
            for place in ("2001:db8::1234:5678", "[2001:db8::1234:5678]:443",
                          "2001:db8:0:0:1:2:3456:7890")
        ),
        # Dates, words and short numbers name nothing.
        ("2031-02-28", set()), ("31.12.2031., 2031/02/28t18:30", set()),
        ("20310228, 28/02/2031 18:30", set()), ("file, phone number", set()),
        ("2000, usd, 80%", set()), ("", set()),
    ],
)  # fmt: skip
def test_what_names_one_thing_is_shared_and_what_many_have_is_not(
    values: str, shared: set[str]
) -> None:
    assert set(named(values)) == shared


def test_of_a_list_without_end_the_first_count() -> None:
    endless = ", ".join(f"account-{number:05}" for number in range(1_000))
    assert len(set(named(endless))) == MAX_VALUES + 1
