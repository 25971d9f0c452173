"""The test cases of Agent Threat Rules as samples of ours: what a case says of an event, said of an
action.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tachograph.detectors.language.atr_traces import actions_of_trace, actions_of_window

_Data = Mapping[str, Any]
# Which column holds a case's main text, and of what kind the action is, by the rule's source.
_MAIN: Mapping[str, tuple[str, str]] = {
    "llm_io": ("prompt", "content_text"),
    "mcp_exchange": ("tool_result", "tool_result"),
    "tool_call": ("tool_call", "tool_args"),
    "multi_agent_comm": ("message", "content_text"),
    "context_window": ("retrieval", "content_text"),
    "memory_access": ("memory_write", "memory_value"),
    "skill_lifecycle": ("tool_call", "tool_args"),
    "skill_permission": ("tool_call", "tool_args"),
    "skill_chain": ("tool_call", "tool_args"),
}


def samples_of(data: _Data, source: str, *, skill: bool) -> dict[str, list[Any]]:
    """The samples of a document: `match` and `no_match`."""
    cases = data.get("test_cases")
    if not isinstance(cases, dict):
        return {}
    named = {"match": "true_positives", "no_match": "true_negatives"}
    return {
        kind: [_sample(data, case, source, skill=skill) for case in _cases(cases.get(name))]
        for kind, name in named.items()
    }


def _cases(given: Any) -> Iterator[_Data]:
    for case in given if isinstance(given, list) else ():
        yield case if isinstance(case, dict) else {"input": case}


def _sample(data: _Data, case: _Data, source: str, *, skill: bool) -> Any:
    detection = data["detection"]
    match detection.get("method"):
        case "trace":
            return actions_of_trace(_text(case.get("input")))
        case "behavioral":
            return actions_of_window(_text(case.get("input")), detection)
    said = _Said(case)
    actions = [said.action(source)]
    if skill and said.skill:
        actions.append({"kind": "artifact", "content_text": said.skill})
    return actions


class _Said:
    """The texts of a case, by what they are: cases say it in several ways."""

    def __init__(self, case: _Data) -> None:
        given = case.get("input", case.get("user_input"))
        inner = given if isinstance(given, dict) else {}
        call = case.get("tool_call")
        call = call if isinstance(call, dict) else {}
        self.name = _text(case.get("tool_name") or call.get("name") or inner.get("tool_name"))
        self.args = _text(case.get("tool_args") or call.get("args") or inner.get("tool_args"))
        self.result = _text(
            case.get("tool_response") or inner.get("response") or inner.get("tool_response")
        )
        self.output = _text(case.get("agent_output"))
        self.description = _text(case.get("tool_description"))
        self.content = _text(case.get("content"))
        if isinstance(given, dict):
            self.input = self.args or ("" if self.result else _text(given))
        else:
            self.input = _text(given)
        # What would be judged if the text were that of a skill.
        self.skill = "" if isinstance(given, dict) else self.input or self.result or self.output

    def action(self, source: str) -> dict[str, Any]:
        """The action that holds them."""
        kind, main = _MAIN.get(source, _MAIN["llm_io"])
        action = {
            "kind": kind,
            "tool_name": self.name,
            # What is asked of a tool is its input too, whatever came of it.
            "tool_args": self.args or self.input,
            "tool_result": self.result,
            "tool_description": self.description,
        }
        text = self.input or self.content
        if text and not action.get(main):
            action[main] = text
        if self.output and not action.get("content_text"):
            action |= {"content_text": self.output, "content_role": "assistant"}
        return {name: value for name, value in action.items() if value}


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value, enc_hook=str).decode()
