/*
description = "How good each rule is, by what people said of its alerts: keep, tune or retire, with the numbers."
risk_categories = ["governance"]

[example]
rule_id = "instruction-in-tool-result"
title = "Instruction-like text in a tool result"
severity = "high"
alerts = 2
alone = 1
open = 1
true_positives = 0
false_positives = 1
benign = 0
duplicates = 0
precision = 0
verdict = "undecided"
last_seen = "2026-11-26 03:11:32.000000"
*/
SELECT rule_id, title, severity, alerts, alone, open, true_positives, false_positives, benign, duplicates, precision, verdict, last_seen
FROM tacho.rule_quality
ORDER BY verdict = 'undecided', precision, alerts DESC, rule_id
