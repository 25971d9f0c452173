"""`tacho scan`: the engine of the stream on files."""

import contextlib
import errno
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import polars as pl

from tachograph.detectors.collector import resting
from tachograph.detectors.language import logsources
from tachograph.detectors.language.compiled import RuleErrors, RuleSet
from tachograph.detectors.language.documents import Problem
from tachograph.detectors.language.fields import ACTIONS, RAW, FieldMap
from tachograph.detectors.reference.reference import Reference
from tachograph.pipeline import log as logs
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.reference import reference_in_force
from tachograph.pipeline.rule_cache import load_kept
from tachograph.pipeline.scan.feed import Fault, feeder
from tachograph.pipeline.scan.findings import Finding, Findings
from tachograph.pipeline.scan.inputs import STDIN, Chunk, Format, as_lines, chunks, detect
from tachograph.pipeline.scan.late_engine import LateEngine
from tachograph.pipeline.scan.outputs import Ndjson, Output, TableOutput
from tachograph.pipeline.scan.raw_judge import RawJudge, is_plain
from tachograph.pipeline.settings import Settings
from tachograph.schemas.alert import SEVERITIES

if TYPE_CHECKING:
    from rich.progress import Progress

    from tachograph.pipeline.normalize.formats.registry import Formats

# What a scan may do without is imported where it is needed: a large file of raw events is read in
# the time that all of it takes to load.
FORMATS = ("auto", "actions", "otlp", "raw")
RULE_SUFFIXES = (".yml", ".yaml")
OUTPUTS = ("ndjson", "table")
MAX_DETAIL_CHARS = 200
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    files: list[Path]
    format: str = "auto"
    rules: list[Path] = []
    tuning: Path | None = None
    pipelines: list[Path] = []
    builtin: bool = True
    reference: list[Path] = []
    mappings: list[Path] = []
    time_field: str | None = None
    model: Path | None = None
    out: Path | None = None
    format_out: str = "ndjson"
    fail_on: str | None = None

    def _known_formats(self) -> tuple[str, ...]:
        # Formats of other systems take time to load: only where one is asked for.
        return FORMATS if self.format in FORMATS else (*FORMATS, *self.formats().names)

    def formats(self) -> "Formats":
        """Formats of other systems: those that ship and the operator's. Raises ConfigError."""
        from tachograph.pipeline.normalize.formats.mapping import BadMapping
        from tachograph.pipeline.normalize.formats.registry import Formats

        try:
            return Formats(self.mappings)
        except BadMapping as error:
            raise ConfigError(str(error)) from error

    def sorted_out(self) -> "Options":
        """With `--rules A B` the words after the first look like files to judge: folders and
        YAML files are rules.
        """
        if not self.rules:
            return self
        more = [p for p in self.files if p.is_dir() or p.suffix in RULE_SUFFIXES]
        files = [path for path in self.files if path not in more]
        return msgspec.structs.replace(self, files=files, rules=[*self.rules, *more])

    def check(self) -> None:
        """Raises ConfigError naming the option."""
        for option, value, known in (
            ("--format", self.format, self._known_formats()),
            ("--format-out", self.format_out, OUTPUTS),
            ("--fail-on", self.fail_on, (None, *SEVERITIES)),
        ):
            if value not in known:
                choices = ", ".join(str(k) for k in known if k)
                raise ConfigError(f"{option} {value}: choose one of {choices}")
        for path in self.files:
            if path != STDIN and not path.is_file():
                raise ConfigError(f"{path} is no file")


def _opened(out: Path) -> BinaryIO:
    try:
        return out.open("wb")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error


@contextlib.contextmanager
def _written(out: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ConfigError(f"cannot write {out or 'the findings'}: {error.strerror}") from error


@contextlib.contextmanager
def _output(options: Options) -> Iterator[Output]:
    """Where findings go. Raises ConfigError where they cannot be: no exit code of a gate."""
    with _written(options.out), contextlib.ExitStack() as stack:
        sink: BinaryIO = sys.stdout.buffer
        if options.out is not None:
            sink = stack.enter_context(_opened(options.out))
        made: Output = Ndjson(sink) if options.format_out == "ndjson" else TableOutput(sink)
        yield made
        made.close()


@contextlib.contextmanager
def _progress(path: Path) -> Iterator["Progress | None"]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or path == STDIN:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(path.name, total=path.stat().st_size)
        yield bar


class Tally(msgspec.Struct):
    """What a scan counted."""

    events: int = 0
    severities: Counter[str] = msgspec.field(default_factory=Counter)
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    # Of each reason the first line, where a person would begin to look.
    first: dict[str, Fault] = msgspec.field(default_factory=dict)
    # What of the rules could not be honoured.
    refused: set[Problem] = msgspec.field(default_factory=set)

    def unusable(self, faults: list[Fault]) -> None:
        """Count lines that could not be used."""
        for fault in faults:
            self.faults[fault.reason] += 1
            self.first.setdefault(fault.reason, fault)

    def in_vain(self) -> bool:
        """Whether there was something to judge, and none of it could be."""
        return self.faults.total() > 0 and self.events == 0

    def note(self, finding: Finding) -> None:
        """Count a finding."""
        self.severities[finding.severity] += 1

    def reaches(self, severity: str) -> bool:
        """Whether there was a finding of this severity or above."""
        floor = [str(s) for s in SEVERITIES].index(severity)
        return any(self.severities[s] for s in SEVERITIES[floor:])

    def text(self) -> str:
        """One line for a person."""
        parts = [f"{self.events:,} events, {self.severities.total():,} findings"]
        parts += [f"{self.severities[s]:,} {s}" for s in reversed(SEVERITIES) if self.severities[s]]
        parts += [self._not_usable(why, count) for why, count in self.faults.items()]
        if self.refused:
            parts.append(f"judged without what {len(self.refused):,} problem(s) in rules left out")
        if self.in_vain():
            parts.append("nothing was judged: --format says what a file is")
        return "; ".join(parts)

    def _not_usable(self, why: str, count: int) -> str:
        first = self.first[why]
        # What is wrong may quote the line.
        told = "".join(c if c.isprintable() else "·" for c in first.detail[:MAX_DETAIL_CHARS])
        detail = f": {told}" if told else ""
        return f"{count:,} not usable ({why}), first line {first.line + 1:,}{detail}"


def _rules(options: Options, kind: Format, home: Path, tally: Tally) -> RuleSet:
    """Rules that can be honoured; what cannot is told. Raises ConfigError where none can, or where
    it is no rule that is wrong.
    """
    reference = reference_in_force(home, options.reference)
    rules = _loaded(options, RAW if kind == "raw" else ACTIONS, reference, home)
    news = sorted(set(rules.refused) - tally.refused)
    if news and (not rules.rules or any(_is_no_rule(one, options) for one in news)):
        raise ConfigError(str(RuleErrors(news)))
    tally.refused |= set(news)
    for problem in news:
        sys.stderr.write(f"left out: {problem}\n")
    for line in [*logsources.in_words(rules.skipped), *logsources.notes_in_words(rules.notes)]:
        sys.stderr.write(f"{line}\n")
    return rules


def _is_no_rule(problem: Problem, options: Options) -> bool:
    """Whether more depends on it than a rule: a file that is not there, a knob, a pipeline."""
    settings = {str(path) for path in (options.tuning, *options.pipelines) if path}
    return problem.file in settings or not Path(problem.file).is_file()


def _loaded(options: Options, fields: FieldMap, reference: Reference, home: Path) -> RuleSet:
    if options.tuning is None and not options.pipelines:
        return load_kept(
            options.rules, builtin=options.builtin, fields=fields, reference=reference, home=home
        )
    from tachograph.detectors.language.ruleset import load

    return load(
        options.rules,
        builtin=options.builtin,
        fields=fields,
        tuning=options.tuning,
        pipelines=options.pipelines,
        reference=reference,
        strict=False,
    )


def _with_first(path: Path) -> tuple[Chunk | None, Iterator[Chunk]]:
    rest = chunks(path)
    return next(rest, None), rest


def scan_file(path: Path, options: Options, out: Output, tally: Tally) -> None:
    """Judge one file. Raises ConfigError when it cannot be read."""
    settings = Settings.from_env()
    first, rest = _with_first(path)
    if first is None:
        return
    first = as_lines(first)
    formats = None if options.format == "raw" else options.formats()
    kind: Format = detect(first.lines, formats) if options.format == "auto" else options.format
    with resting():
        rules = _rules(options, kind, settings.home, tally)
    asked = None if rules.anywhere else rules.columns
    made_by = feeder(
        kind, settings.home, settings.tenant, options.time_field, asked, formats=formats, path=path
    )
    with resting():
        judge = RawJudge(rules) if kind == "raw" and out.takes_lines else None
    if judge is not None:
        rules = rules.only([rule for rule in rules.rules if not is_plain(rule)])
    engine = LateEngine(rules, options.model) if rules.rules else None
    findings = Findings(raw=kind == "raw")
    with _progress(path) as bar:
        for number, chunk in enumerate(_chain(first, rest)):
            fed = made_by.feed(chunk)
            tally.events += fed.frame.height
            tally.unusable(fed.faults)
            if judge is not None:
                _write_lines(judge, fed.frame, out, tally)
            if engine is not None:
                findings.learn(fed.links)
                signals = engine.process(fed.frame, fed.links, revision=number)
                _write(findings.take(signals), out, tally)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=chunk.position)
    if engine is not None:
        _write(findings.take(engine.close(number + 1)), out, tally)
    _write(findings.rest(), out, tally)


def _write_lines(judge: RawJudge, frame: pl.DataFrame, out: Output, tally: Tally) -> None:
    with resting():
        for judged in judge.judge(frame):
            tally.severities.update(judged.severities)
            for lines in judged.lines:
                out.write_lines(lines)


def _chain(first: Chunk, rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield from rest


def _write(findings: Iterator[Finding], out: Output, tally: Tally) -> None:
    for finding in findings:
        tally.note(finding)
        out.write(finding)


def run_scan(options: Options) -> int:
    """Judge all files; the exit code: 1 where --fail-on says so, 2 where rules were left out or
    nothing of the files could be used, as grep does whose search was not whole. Raises ConfigError.
    """
    logs.configure()
    options.check()
    tally = Tally()
    with _output(options) as out:
        for path in options.files:
            scan_file(path, options, out, tally)
    sys.stderr.write(tally.text() + "\n")
    if options.fail_on and tally.reaches(options.fail_on):
        return 1
    return 2 if tally.refused or tally.in_vain() else 0
