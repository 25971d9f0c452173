"""Numbers as whole billionths, so that sums do not depend on their order."""

from tachograph.detectors.correlation.decimals import PLACES, decimal
from tachograph.detectors.language.bounds import MAX_FIGURE
from tachograph.detectors.sql.values import Value


def scaled(value: Value) -> str:
    """A field's number in billionths, as Int128; NULL where it has none that counts."""
    if value.kind in {"whole", "real"}:
        number = f"toFloat64({value.sql})"
    elif value.kind == "text":
        number = f"if({value.present}, toFloat64OrNull({value.sql}), NULL)"
    else:
        return "CAST(NULL AS Nullable(Int128))"
    whole, part = f"floor({number})", f"({number} - floor({number}))"
    billionths = f"toInt128({whole}) * {PLACES} + toInt128(roundBankers({part} * {PLACES}))"
    return f"if(ifNull(abs({number}) <= {MAX_FIGURE}, false), {billionths}, NULL)"


def edge(number: float) -> int:
    """A bound in billionths."""
    whole, part = decimal(number)
    return whole * PLACES + part
