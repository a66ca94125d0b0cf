import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_of_the_protocol_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "build_protocol_reference.py"))
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    assert page == script["reference"](), "run scripts/build_protocol_reference.py"
