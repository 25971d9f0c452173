"""The verb `tacho repartition`."""

import sys
from typing import Annotated

import typer


def repartition(
    *,
    partitions: Annotated[int, typer.Option(min=2, help="how many agent.actions is to have")],
) -> None:
    """Give agent.actions more partitions, so that more processes share the work.

    Stop `normalize`, let `detect` and `store` read what there is, stop them too, run this, and
    start them again. Doors, triage and the others may go on. What the log still holds of
    agent.actions is laid anew, and `detect` judges it again, in silence, before it goes on. Stopped
    half-way, the same command goes on.
    """
    from tachograph.pipeline.repartition.moving import Moving
    from tachograph.pipeline.settings import Settings

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    plan = Moving(Settings.from_env(), say).to(partitions)
    sys.stdout.write(
        f"{plan.topic}: {plan.before} partitions before, {plan.after} now; {plan.records:,} records"
        " laid anew. Start `tacho normalize`, `detect` and `store` again.\n"
    )
