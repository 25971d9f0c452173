"""`tacho rules test`: the samples inside rule files, judged by the engine of the stream."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree as ET

import msgspec

from tachograph.detectors.language.samples import Case, cases
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.loading import LOGS, Sources, counted

_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Tested(msgspec.Struct, frozen=True):
    """What came of all samples. A rule that does not load is a case that failed."""

    rules: int
    cases: list[Case]

    @property
    def failed(self) -> list[Case]:
        """Those that did not pass."""
        return [case for case in self.cases if not case.passed]


def run_test(
    paths: Sequence[Path],
    sources: Sources,
    *,
    junit: Path | None,
    as_json: bool,
    sink: TextIO,
) -> int:
    """Judge all samples and report; the exit code. Raises ConfigError."""
    found = tested(paths, sources)
    if junit is not None:
        try:
            junit.write_text(_junit(found), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--junit {junit}: {error.strerror}") from error
    sink.write(_json(found) if as_json else _text(found))
    return 1 if found.failed else 0


def tested(paths: Sequence[Path], sources: Sources) -> Tested:
    """The samples of the rules of these files and folders; without any, of the shipped ones."""
    looked = sources.look(paths)
    found = [
        Case("", "", "load", wanted=True, passed=False, reason=str(problem), file=problem.file)
        for problem in looked.refused
    ]
    spoken = list(looked.spoken())
    for rules, shape in ((looked.actions, None), (looked.logs, LOGS)):
        mine = [rule for rule, of in spoken if of is rules]
        if mine:
            found += cases(rules.only(mine), shape)
            spoken = [(rule, of) for rule, of in spoken if of is not rules]
    rules_count = len({rule.meta.rule_id for rule, _ in looked.spoken()})
    return Tested(rules_count, found)


def _text(found: Tested) -> str:
    lines = [
        f"{case.file}: {case.title}: {case.case}: {case.reason}" if case.title else case.reason
        for case in found.failed
    ]
    passed = len(found.cases) - len(found.failed)
    counts = (counted(found.rules, "rule"), counted(len(found.cases), "case"), f"{passed} passed")
    summary = ", ".join(counts)
    return "\n".join([*lines, summary, ""])


def _json(found: Tested) -> str:
    told = {
        "rules": found.rules,
        "cases": len(found.cases),
        "passed": len(found.cases) - len(found.failed),
        "failed": [
            {"rule_id": case.rule_id or case.file, "case": case.case, "reason": case.reason}
            for case in found.failed
        ],
    }
    return msgspec.json.encode(told).decode() + "\n"


def _junit(found: Tested) -> str:
    suite = ET.Element(
        "testsuite", name="tacho rules test", tests=str(len(found.cases)),
        failures=str(len(found.failed)), errors="0", skipped="0",
    )  # fmt: skip
    for case in found.cases:
        element = ET.SubElement(
            suite, "testcase", classname=_plain(case.rule_id or case.file),
            name=_plain(f"{case.title}: {case.case}"), file=_plain(case.file),
        )  # fmt: skip
        if not case.passed:
            failure = ET.SubElement(element, "failure", message=_plain(case.reason))
            failure.text = _plain(f"{case.file}: {case.reason}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Text as XML can hold it: some characters cannot stand in it in any form."""
    return _NOT_XML.sub("\ufffd", text)
