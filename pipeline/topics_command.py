"""The verb `tacho topics`."""

import sys
from typing import Annotated

import typer


def topics(
    *,
    create: Annotated[bool, typer.Option("--create", help="create what is missing")] = False,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="with --create: of each, instead of 4; as many processes share"),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="with --create: copies; without it the broker's default"),
    ] = None,
) -> None:
    """Kafka's topics: what is missing, and what is not as its contract says.

    Exits with 1 where records may be lost by a difference. What a broker makes by itself has
    neither compaction nor retention: create topics before stages start. Their number of partitions
    bounds how many processes of a stage share the work; agent.actions can get more later
    (`tacho repartition`).
    """
    from tachograph.pipeline.errors import ConfigError
    from tachograph.pipeline.kafka.topics import differences, provision
    from tachograph.pipeline.settings import Settings
    from tachograph.schemas import contracts

    if not create and (partitions or replicas):
        raise ConfigError("--partitions and --replicas are said to --create")
    settings = Settings.from_env()
    created = provision(settings, partitions=partitions, replicas=replicas or -1) if create else []
    for name in created:
        sys.stdout.write(f"created   {name}\n")
    found = differences(settings)
    for one in found:
        said = "missing" if one.what == "missing" else f"{one.what} is {one.found or 'not set'}"
        more = "" if one.what == "missing" else f", by its contract {one.wanted}"
        sys.stdout.write(f"{'wrong' if one.grave else 'differs':<9} {one.topic}: {said}{more}\n")
    grave = sum(one.grave for one in found)
    total = len(contracts.topics())
    sys.stdout.write(f"{total} topics, {grave} faults, {len(found) - grave} other differences\n")
    raise typer.Exit(1 if grave else 0)
