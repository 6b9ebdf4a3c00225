"""One module for each benchmark: `OPTIONS`, `DEFAULTS`, `run(**options)` that returns figures."""
