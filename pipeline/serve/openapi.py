"""`GET /openapi.json`: the paths that give alerts, described for programs (OpenAPI 3.1)."""

from typing import Any, get_args

import msgspec

from tachograph.pipeline.forward.formats._values import product_version
from tachograph.pipeline.serve.alert_pages import (
    CURSOR,
    DEFAULT_LIMIT,
    FILTERS,
    MAX_LIMIT,
    MAX_VALUE_CHARS,
    STATUSES,
    TIMES,
)
from tachograph.schemas.alert import SEVERITIES, Alert, RiskCategory

_PREFIX = "#/components/schemas/"


def document() -> dict[str, Any]:
    """The description, as JSON values."""
    [reference], parts = msgspec.json.schema_components([Alert], ref_template=_PREFIX + "{name}")
    page = {
        "type": "object",
        "required": ["alerts", "next"],
        "properties": {
            "alerts": {"type": "array", "items": reference},
            "next": {
                "type": ["string", "null"],
                "description": "cursor of the next page; null at the end",
            },
        },
    }
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tachograph alerts",
            "version": product_version(),
            "description": "Alerts of AI agents. Every path needs the role `watch`.",
        },
        "security": [{}, {"bearer": []}],
        "paths": {
            "/v1/alerts": {"get": _page()},
            "/v1/alerts/{alert_id}": {"get": _one(reference)},
            "/alerts": {"get": _feed()},
        },
        "components": {
            "schemas": {**parts, "Page": page, "Error": error},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _page() -> dict[str, Any]:
    parameters = [_many(name) for name in (*FILTERS, "rule")]
    parameters.append(_parameter("min_severity", {"enum": list(SEVERITIES)}, "this and above"))
    text = {"type": "string", "pattern": r"^[^\x00]+$", "maxLength": MAX_VALUE_CHARS}
    about = "in title, agent, entity or principal; a session's id, or how the alert's id begins"
    parameters.append(_parameter("search", text, about))
    moment = {"type": "string", "format": "date-time"}
    parameters += [
        _parameter(name, moment, f"alerts with {about} this") for name, about in TIMES.items()
    ]
    place = {"type": "string", "pattern": CURSOR}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    parameters.append(_parameter("limit", limit, "alerts of a page"))
    parameters.append(_parameter("cursor", place, "`next` of the page before"))
    return {
        "operationId": "listAlerts",
        "summary": "Stored alerts, the newest first, each at its newest revision",
        "parameters": parameters,
        "responses": _responses({"$ref": _PREFIX + "Page"}),
    }


def _one(reference: dict[str, Any]) -> dict[str, Any]:
    place = {**_parameter("alert_id", {"type": "string"}, "its id"), "in": "path", "required": True}
    responses = _responses(reference)
    responses["404"] = _error("no such alert, or it was retracted")
    return {
        "operationId": "getAlert",
        "summary": "One alert as it stands now",
        "parameters": [place],
        "responses": responses,
    }


def _feed() -> dict[str, Any]:
    names = ("severity", "rule", "risk_category", "tenant")
    resume = _parameter(
        "last_id", {"type": "string"}, "go on after this id; `earliest`: from the first"
    )
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    responses = _responses({})
    responses["200"] = {"description": "alerts as they come, one event each", "content": events}
    return {
        "operationId": "watchAlerts",
        "summary": "The live feed, server-sent events that resume",
        "parameters": [*(_many(name) for name in names), resume],
        "responses": responses,
    }


def _many(name: str) -> dict[str, Any]:
    closed = {"severity": SEVERITIES, "status": STATUSES, "risk_category": get_args(RiskCategory)}
    # A comma parts values, so none is in one.
    item: dict[str, Any] = {"type": "string", "pattern": r"^[^\x00,]+$", "maxLength": 512}
    if name in {"severity", "status"}:
        item = {"enum": list(closed[name])}
    schema = {"type": "array", "items": item, "minItems": 1, "maxItems": 100}
    about = f"any of these values of {FILTERS.get(name, 'rule_ids')}, joined by commas"
    return {**_parameter(name, schema, about), "style": "form", "explode": False}


def _parameter(name: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": about}


def _responses(schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {
        "200": {"description": "what was asked for", "content": content},
        "400": _error("a parameter cannot be used; the message says which"),
        "401": _error("no valid token"),
        "403": _error("the token lacks the role, or it is another tenant's"),
        "405": _error("the path is only read"),
        "421": _error("without tokens only this machine is answered"),
        "429": _error("too many requests of this client"),
        "431": {"description": "more parameters than the head of a request may hold"},
        "503": _error("ClickHouse or the log does not answer; try again after Retry-After"),
    }


def _error(about: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _PREFIX + "Error"}}}
    return {"description": about, "content": content}
