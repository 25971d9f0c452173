"""Numbers as whole billionths, so that sums do not depend on their order."""

from tachograph.detectors.correlation.decimals import PLACES, decimal
from tachograph.detectors.language.bounds import MAX_FIGURE
from tachograph.detectors.sql.values import Value


def scaled(value: Value) -> str:
    """A field's number in billionths, as Int128; NULL where it has none. Beyond ±MAX_FIGURE it
    counts as that.
    """
    if value.kind in {"whole", "real"}:
        number = f"toFloat64({value.sql})"
    elif value.kind == "text":
        number = f"if({value.present}, toFloat64OrNull({value.sql}), NULL)"
    else:
        return "CAST(NULL AS Nullable(Int128))"
    # Neither `least` nor `greatest` would do: they pass over NULL.
    most = f"toFloat64({MAX_FIGURE})"
    number = f"multiIf({number} > {most}, {most}, {number} < -{most}, -{most}, {number})"
    whole, part = f"floor({number})", f"({number} - floor({number}))"
    billionths = f"toInt128({whole}) * {PLACES} + toInt128(roundBankers({part} * {PLACES}))"
    return f"if(ifNull(isNaN({number}), true), NULL, {billionths})"


def edge(number: float) -> int:
    """A bound in billionths."""
    whole, part = decimal(number)
    return whole * PLACES + part
