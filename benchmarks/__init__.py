"""Measures the proxy beside its peers: `python -m benchmarks`. README.md says how to read the results."""
