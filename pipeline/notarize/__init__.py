"""Evidence: leaves over what alerts rest on, and signed heads of the trees they make."""
