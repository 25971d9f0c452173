"""`tacho train`: a model of behaviour from stored actions or from files."""
