"""What docs/forward.md shows works as it is shown."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.config import Route, load
from tachograph.pipeline.forward.destinations.webhook import signature
from tachograph.pipeline.forward.formats import formats
from tachograph.pipeline.settings import Settings

PAGE = Path("docs/forward.md").resolve()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_configuration_shown_is_valid(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    [shown] = blocks("toml")
    text = shown.replace("/etc/tacho/siem-ca.pem", str(tmp_path / "ca.pem"))
    (tmp_path / "forward.toml").write_text(text)
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    found = load(settings, environ={"TACHO_SOAR_SECRET": "a secret of some length"})
    assert [one.route.name for one in found] == ["siem", "soar"]


def test_the_signature_check_shown_accepts_ours_and_nothing_else() -> None:
    [shown] = blocks("python")
    names: dict[str, Any] = {}
    exec(compile(shown, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    is_ours: Callable[[bytes, str, bytes], bool] = names["is_ours"]
    now_s = int(time.time())
    assert is_ours(b"secret", signature(b"secret", now_s, b"body"), b"body")
    assert not is_ours(b"secret", signature(b"secret", now_s, b"body"), b"other")
    assert not is_ours(b"other", signature(b"secret", now_s, b"body"), b"body")
    assert not is_ours(b"secret", signature(b"secret", now_s - 3_600, b"body"), b"body")


def test_every_option_and_format_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    for kind in destination.types().values():
        assert f'type = "{kind.TYPE}"' in page
        for name in kind.Options.__struct_fields__:
            assert f"`{name}" in page
    siem = PAGE.with_name("siem.md").read_text("utf-8")
    for form in formats():
        assert f"| `{form}` |" in siem
    for name in Route.__struct_fields__:
        assert f"`{name}`" in page
