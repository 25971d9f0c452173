"""Rules as people write them: files, Sigma, fields, conditions; and what a rule is once read."""
