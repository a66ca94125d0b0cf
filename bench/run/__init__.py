"""What can be run, from the root of the repository: ``python -m bench.run.NAME --help``."""
