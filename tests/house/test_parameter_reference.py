import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_of_parameters_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "build_parameter_reference.py"))
    page = (ROOT / "docs" / "parameters.md").read_text("utf-8")
    assert page == script["reference"](), "run scripts/build_parameter_reference.py"
