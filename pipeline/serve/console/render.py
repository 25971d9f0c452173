"""Templates. Every value is escaped, and control and direction characters are shown as dots, by the
environment itself: a template cannot forget it.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote_plus

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from tachograph.pipeline.investigate import html
from tachograph.pipeline.investigate.page import Page

_HERE: Final = Path(__file__).parent
ASSETS: Final = _HERE / "assets"
VALUE_CHARS: Final = 2_000
ID_CHARS: Final = 300
# No script, style or picture but the door's own files; no other page may frame it or get its forms.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Column or fact of a page → the page that its value has.
_PAGES: Final = {
    "alert": "alert", "agent": "agent", "session": "session", "incident": "incident",
    "started by": "agent", "sessions": "session", "agents": "agent",
}  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, Markup | int | float):
        return value
    return Markup(html.text(str(value), VALUE_CHARS))  # noqa: S704 - escaped by `text`


def _page_of(kind: str, name: str) -> str:
    return f"/console/{kind}/{quote(name, safe='', errors='replace')}"


def _link(name: str, value: str) -> str | None:
    kind = _PAGES.get(name)
    if kind is None or not value or len(value) > ID_CHARS:
        return None
    if name.endswith("s") and (", " in value or value.isdigit()):
        return None  # several, or how many
    return _page_of(kind, value)


def _body(page: Page) -> list[tuple[str, str, Markup]]:
    """Sections with their anchors."""
    return [
        (one.title.lower().replace(" ", "-"), one.title, Markup(html.body(one, _link)))  # noqa: S704
        for one in page.sections
        if one.filled or one.empty
    ]


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """A file of ours and its version, or None."""
    path = ASSETS / name
    if "/" in name or name.startswith(".") or not path.is_file():
        return None
    content = path.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def _asset_url(name: str) -> str:
    found = asset(name)
    return f"/console/assets/{name}?v={found[1] if found else ''}"


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_plain,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(
    page_of=_page_of, asset=_asset_url, sections=_body, as_typed=unquote_plus
)


def text_of(template: str, **values: Any) -> str:
    """A template with its values."""
    return _ENVIRONMENT.get_template(template).render(**values)


def shown(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-store",
        # Without a referrer a browser says of its own forms that they are from nowhere.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(text_of(template, **values), status, headers)
