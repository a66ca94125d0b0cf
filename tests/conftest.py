"""Rules for the whole suite."""

import os
from collections.abc import Generator

import pytest

# Kernels run in Triton's interpreter: no test needs a GPU. Must be set before one is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

_STRICT = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def _fail_if_skipped(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Turn a skip into a failure: where everything is installed, a missing part is a fault."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, and with CI set nothing may be missing: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _STRICT:
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _STRICT:
        _fail_if_skipped(report)
    return report
