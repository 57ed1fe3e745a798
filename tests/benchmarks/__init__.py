"""How fast the exchange is beside plain servers that promise nothing: `make bench`, or `python -m tests.benchmarks`."""
