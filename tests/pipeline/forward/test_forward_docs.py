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
    (tmp_path / "token").write_text("token-of-the-test")
    [shown] = blocks("yaml")
    for path, beside in (("/etc/tacho/siem-ca.pem", "ca.pem"), ("/run/secrets/hec_token", "token")):
        shown = shown.replace(path, str(tmp_path / beside))
    (tmp_path / "forward.yaml").write_text(shown)
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    secrets = dict.fromkeys(re.findall(r"secret_env: (\w+)", shown), "a secret of some length")
    secrets["SLACK_WEBHOOK_URL"] = "https://hooks.slack.example/services/T0/B0/x"
    found = load(settings, environ=secrets)
    assert {one.type.TYPE for one in found} == set(destination.types()) - {"opensearch"}


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
        assert f"`type: {kind.TYPE}`" in page
        for name in kind.Options.__struct_fields__:
            assert f"`{name}" in page
    siem = PAGE.with_name("siem.md").read_text("utf-8")
    for form in formats():
        assert f"| `{form}` |" in siem
    for name in Route.__struct_fields__:
        assert f"`{name}`" in page
