"""`GET /openapi.json`: the paths that give alerts and incidents and take what people say of them,
described for programs (OpenAPI 3.1).
"""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from tachograph.pipeline.forward.formats._values import product_version
from tachograph.pipeline.investigate.dispositions import MAX_ALERTS, MAX_TEXT_CHARS, VERDICTS
from tachograph.pipeline.serve.alert_pages import ALERTS, INCIDENTS, WORDS_MAX
from tachograph.pipeline.serve.listing import (
    CURSOR,
    DEFAULT_LIMIT,
    MAX_LIMIT,
    MAX_VALUE_CHARS,
    Listing,
)
from tachograph.schemas.alert import SEVERITIES, Alert, RiskCategory
from tachograph.schemas.records import Disposition, Incident

_PREFIX = "#/components/schemas/"
_LIST: Mapping[str, Any] = {"type": "array", "minItems": 1, "maxItems": 100}
# A blank text says nothing.
_SAID: Mapping[str, Any] = {
    "type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS, "pattern": r"\S",
}  # fmt: skip


def document() -> dict[str, Any]:
    """The description, as JSON values."""
    records, parts = msgspec.json.schema_components(
        [Alert, Incident, Disposition], ref_template=_PREFIX + "{name}"
    )
    alert, incident, disposition = records
    said = {"type": "array", "items": disposition}
    made = {
        "Page": _page_of("alerts", alert),
        "IncidentPage": _page_of("incidents", incident),
        "Dispositions": _object({"dispositions": said}),
        "Said": _object(
            {
                "dispositions": said,
                "stored": {
                    "type": "boolean",
                    "description": "whether ClickHouse shows it already; the log has it",
                },
            }
        ),
        "Error": _object({"error": {"type": "string"}}),
        **_words(),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tachograph alerts",
            "version": product_version(),
            "description": "Alerts of AI agents. Reading needs the role `watch`, saying something"
            " of an alert the role `analyst`.",
        },
        "security": [{}, {"bearer": []}],
        "paths": _paths(alert, incident),
        "components": {
            "schemas": {**parts, **made},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths(alert: dict[str, Any], incident: dict[str, Any]) -> dict[str, Any]:
    of_one = "/v1/alerts/{alert_id}"
    return {
        "/v1/alerts": {
            "get": _page(
                ALERTS, "Page", "listAlerts",
                "Stored alerts, the newest first, each at its newest revision",
            )
        },
        of_one: {"get": _one(alert, "getAlert", "One alert as it stands now", "alert_id")},
        f"{of_one}/dispositions": {
            "get": _one(
                _part("Dispositions"), "listDispositions",
                f"What people said of an alert, the newest {WORDS_MAX} first", "alert_id",
            ),
            "post": _said(
                "Word", "addDisposition", "Close, reopen, acknowledge, assign or note an alert",
                "alert_id",
            ),
        },
        "/v1/dispositions": {
            "post": _said("Words", "addDispositions", "Say the same of several alerts")
        },
        "/v1/incidents": {
            "get": _page(
                INCIDENTS, "IncidentPage", "listIncidents",
                "Alerts that belong together, the newest incident first",
            )
        },
        "/v1/incidents/{incident_id}": {
            "get": _one(
                incident, "getIncident", "One incident, by its id or that of an alert of it",
                "incident_id",
            )
        },
        "/alerts": {"get": _feed()},
    }  # fmt: skip


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _part(name: str) -> dict[str, Any]:
    return {"$ref": _PREFIX + name}


def _page_of(name: str, items: dict[str, Any]) -> dict[str, Any]:
    more = {"type": ["string", "null"], "description": "cursor of the next page; null at the end"}
    return _object({name: {"type": "array", "items": items}, "next": more})


def _words() -> dict[str, Any]:
    """What may be said: each action with what it needs."""
    verdict = {"enum": list(VERDICTS), "description": "needed to close"}
    fields = {
        "disposition": verdict,
        "assignee": {**_SAID, "description": "needed to assign; `me`: who asks"},
        "note": {**_SAID, "description": "why"},
    }
    names = {"type": "string", "pattern": "^[!-~]{1,200}$"}
    several = {"type": "array", "items": names, "minItems": 1, "maxItems": MAX_ALERTS}
    forms = {"close": ["disposition"], "assign": ["assignee"], "note": ["note"]}

    def word(action: str, more: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["action", *forms.get(action, ()), *more],
            "properties": {"action": {"const": action}, **fields, **more},
        }

    actions = ("close", "reopen", "acknowledge", "assign", "note")
    return {
        "Word": {"oneOf": [word(one, {}) for one in actions]},
        "Words": {"oneOf": [word(one, {"alert_ids": several}) for one in actions]},
    }


def _page(listing: Listing, schema: str, operation: str, summary: str) -> dict[str, Any]:
    parameters = [
        _many(name, column) for name, column in {**listing.filters, **listing.members}.items()
    ]
    parameters.append(_parameter("min_severity", {"enum": list(SEVERITIES)}, "this and above"))
    if listing.searched:
        text = {"type": "string", "pattern": r"^[^\x00]+$", "maxLength": MAX_VALUE_CHARS}
        about = "in title, agent, entity or principal; a session's id, or how the alert's id begins"
        parameters.append(_parameter("search", text, about))
    moment = {"type": "string", "format": "date-time"}
    parameters += [
        _parameter(name, moment, f"those with {about} this")
        for name, about in listing.times.items()
    ]
    place = {"type": "string", "pattern": CURSOR}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    parameters.append(_parameter("limit", limit, "how many a page has"))
    parameters.append(_parameter("cursor", place, "`next` of the page before"))
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": parameters,
        "responses": _responses(_part(schema)),
    }


def _one(schema: dict[str, Any], operation: str, summary: str, name: str) -> dict[str, Any]:
    responses = _responses(schema)
    responses["404"] = _error("there is none of that id, or its alert was retracted")
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [_in_path(name)],
        "responses": responses,
    }


def _said(schema: str, operation: str, summary: str, *names: str) -> dict[str, Any]:
    responses = _responses(_part("Said"), "201")
    responses["404"] = _error("there is no such alert, or it was retracted")
    responses["413"] = _error("the body is too large")
    responses["415"] = _error("the body is not JSON")
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [_in_path(name) for name in names],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _part(schema)}},
        },
        "responses": responses,
    }


def _in_path(name: str) -> dict[str, Any]:
    return {**_parameter(name, {"type": "string"}, "its id"), "in": "path", "required": True}


def _feed() -> dict[str, Any]:
    names = ("severity", "rule", "risk_category", "tenant")
    columns = {**ALERTS.filters, **ALERTS.members}
    resume = _parameter(
        "last_id", {"type": "string"}, "go on after this id; `earliest`: from the first"
    )
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    responses = _responses({})
    responses["200"] = {"description": "alerts as they come, one event each", "content": events}
    return {
        "operationId": "watchAlerts",
        "summary": "The live feed, server-sent events that resume",
        "parameters": [*(_many(name, columns[name]) for name in names), resume],
        "responses": responses,
    }


def _many(name: str, column: str) -> dict[str, Any]:
    closed = {**ALERTS.closed, "risk_category": get_args(RiskCategory)}
    # A comma parts values, so none is in one.
    item: dict[str, Any] = {"type": "string", "pattern": r"^[^\x00,]+$", "maxLength": 512}
    if name in ALERTS.closed:
        item = {"enum": list(closed[name])}
    about = f"any of these values of {column}, joined by commas"
    schema = {**_LIST, "items": item}
    return {**_parameter(name, schema, about), "style": "form", "explode": False}


def _parameter(name: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": about}


def _responses(schema: dict[str, Any], done: str = "200") -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {
        done: {"description": "what was asked for", "content": content},
        "400": _error("a parameter or the body cannot be used; the message says which"),
        "401": _error("no valid token"),
        "403": _error("the token lacks the role, or it is another tenant's"),
        "405": _error("the path is not used so"),
        "421": _error("without tokens only this machine is answered"),
        "429": _error("too many requests of this client"),
        "431": {"description": "more parameters than the head of a request may hold"},
        "503": _error("ClickHouse or the log does not answer; try again after Retry-After"),
    }


def _error(about: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _part("Error")}}
    return {"description": about, "content": content}
