"""Budgets of agents: the limit, and each action's share of it, so that a sum over a window that
reaches 100 is the limit reached, whatever each agent's limit is.
"""

from collections.abc import Callable

import polars as pl

from tachograph.detectors.reference.entries import Content
from tachograph.detectors.reference.joins import ByTime, ByValue, Join, Values
from tachograph.detectors.reference.names import Index

LIMITS = ("usd_hour", "usd_day", "tokens_hour", "tokens_day")
_TOKENS = pl.sum_horizontal("usage_input_tokens", "usage_output_tokens")
_USED = {"usd": pl.col("usage_cost_usd"), "tokens": _TOKENS}


def _budgets(content: Content) -> Callable[..., Values] | None:
    if not content.budgets:
        return None
    index = Index((budget.tenant, budget.agent, budget) for budget in content.budgets)

    def limits(tenant: str | None, *names: str | None) -> Values:
        for name in names:
            budget = index.find(tenant, name)
            if budget is not None:
                return tuple(getattr(budget, field) for field in LIMITS)
        return (None,) * len(LIMITS)

    return limits


def _percent(limit: str) -> pl.Expr:
    of = pl.col(f"budget_{limit}")
    share = 100 * _USED[limit.partition("_")[0]] / of
    return pl.when(of > 0).then(share).alias(f"budget_{limit}_percent")


JOINS: tuple[Join, ...] = (
    ByValue(
        {f"budget_{limit}": pl.Float64() for limit in LIMITS},
        ("tenant", "register_id", "agent_id", "agent_name", "service_name"),
        _budgets,
    ),
    ByTime(
        {f"budget_{limit}_percent": pl.Float64() for limit in LIMITS},
        (*(f"budget_{limit}" for limit in LIMITS), "usage_cost_usd", "usage_input_tokens",
         "usage_output_tokens"),
        tuple(_percent(limit) for limit in LIMITS),
        lambda content: bool(content.budgets),
    ),
)  # fmt: skip
