"""Evidence that leaves the house: records with the proofs that a third party checks by itself."""
