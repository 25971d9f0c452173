"""Expressions and texts for tests: small ones that touch each other often."""

from hypothesis import strategies as st

_ATOMS = [
    "a", "b", "ab", "kiss", "Kill", "\u212a", "ſ", "é", "ß", "发送", "😀", "instructions?", "`",
    "-", r"\.", r"\x41", "[ab]", r"\u{e9}",
    "[^a]", "[k-t]", r"[\s\S]", r"\s", r"\S", r"\d", r"[\d_]",
    ".", r"\D", "[A-Za-z_]", r"(?-u:\b)", r"\pL", "[[:digit:]]", r"[^\s\d]", "^", "$", r"\A", r"\z",
    "[😀发]", r"[\x{0430}-\x{0450}]", "{{",
]  # fmt: skip
_TIMES = ["*", "+", "?", "{2}", "{1,3}", "*?", "{0,2}"]
_TEXT = [
    "a", "b", "ab", "k", "K", "\u212a", "s", "S", "ſ", "é", "É", "ß", "发送", "😀", ".", " ", "\n",
    "1", "_", "-", "`", "А", "{",
]  # fmt: skip


def expressions() -> st.SearchStrategy[str]:
    """Expressions as Rust spells them; some have flags."""
    atoms = st.sampled_from(_ATOMS)
    tree = st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
            st.tuples(inner, st.sampled_from(_TIMES)).map(lambda two: f"(?:{two[0]}){two[1]}"),
            inner.map(lambda one: f"(?i:{one})"),
        ),
        max_leaves=6,
    )
    return st.tuples(st.sampled_from(["", "(?i)", "(?is)", "(?m)"]), tree).map("".join)


def texts() -> st.SearchStrategy[str]:
    """Texts of what the expressions look for."""
    words = ["kiss", "kill", "instruction", "instructions", *_TEXT]
    return st.lists(st.sampled_from(words), max_size=6).map("".join)
