"""`tacho --help` with its verbs under headings: thirty-odd verbs in one list are read by nobody."""

from enum import StrEnum
from typing import Any

from typer.core import TyperGroup


class Section(StrEnum):
    """What a verb is for, as a heading of the help; in the order in which they are shown."""

    START = "Run and look"
    INVESTIGATE = "Investigate"
    RULES = "Rules and models"
    EVIDENCE = "Evidence"
    STAGES = "Stages, one process each"
    OPERATE = "Operate"


class SectionedGroup(TyperGroup):
    """A group whose commands stand under the `Section` they have as their `rich_help_panel`.

    Typer carries a copy of Click that it does not export: hence what is typed Any.
    """

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """Write the sections in their order, the commands of each in theirs."""
        # One width for all sections, so that what the verbs do stands in one column.
        width = max(len(name) for name in self.commands)
        room = formatter.width - width - 6
        for section in Section:
            rows = [
                (name.ljust(width), command.get_short_help_str(room))
                for name, command in self.commands.items()
                if getattr(command, "rich_help_panel", None) == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)
