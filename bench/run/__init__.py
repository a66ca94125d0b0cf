"""What can be run: ``python -m bench.run.NAME --help``, from the root of the repository."""
