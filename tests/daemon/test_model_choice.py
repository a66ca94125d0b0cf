"""The models and the style of a session: begun with, remembered, exchanged, gone."""

from pathlib import Path

import numpy as np
import pytest

from bench.daemon import Daemon
from lofid.compose.preset import load_preset
from lofid.compose.voices import load_model_of
from lofid.daemon.model_choice import taken_up
from lofid.errors import LofidError
from lofid.protocol.messages import Status
from lofid.rwkv import shipped
from lofid.rwkv.config import HEAD_SIZE
from lofid.rwkv.styles import WKV, Method, Style, StyleCard, save_style, style_path

KEYS = Path(shipped.__file__).parents[1] / "models" / "pocket-keys.safetensors"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short name, for sockets lie in it; two styles are kept there."""
    found = tmp_path_factory.mktemp("v")
    monkeypatch.setenv("XDG_DATA_HOME", str(found))
    model = load_model_of("keys")
    config = model.card.config
    for number, name in enumerate(("one", "two")):
        rng = np.random.default_rng(number)
        shape = config.layers, config.heads, HEAD_SIZE, HEAD_SIZE
        state = 0.01 * rng.standard_normal(shape, np.float32)
        card = StyleCard(Method.STATE, {"keys": model.hash}, "test", {"keys": 1}, number)
        save_style(style_path(name), Style(name, card, {f"keys.{WKV}": state}))
    return found


def daemon(folder: Path, *options: str) -> Daemon:
    return Daemon(folder, ["--output", "null", "--virtual-clock", "--seed", "7", *options])


def status_after(played: Daemon, bars: int = 3) -> tuple[int, Status]:
    """The first bar that a daemon plays, and its status some bars later; it is ended then."""
    with played:
        played.start()
        with played.listening("bar") as listener:
            first = listener.bar().bar.index
            for _ in range(bars):
                listener.bar()
            status = listener.client.status()
        assert played.stop() == 0
    return first, status


def told(status: Status) -> str:
    return " ".join(warning.text for warning in status.warnings)


def test_a_session_remembers_its_style_and_says_so(folder: Path) -> None:
    _, begun = status_after(daemon(folder, "--style", "one"))
    assert (begun.style, begun.model, told(begun)) == ("one", None, "")
    again = daemon(folder)
    first, status = status_after(again)
    assert first >= 3, "it goes on"
    assert (status.style, status.engine.models, told(status)) == ("one", begun.engine.models, "")
    assert "It plays in the style 'one'." in again.log.read_text("utf-8")

    _, other = status_after(daemon(folder, "--style", "two"))
    assert other.style == "two"
    assert "plays in the style 'two' from now on, as this start asks" in told(other)
    assert "set aside" in told(other)
    assert status_after(daemon(folder))[1].style == "two"

    style_path("two").unlink()
    first, status = status_after(daemon(folder))
    assert (first, status.style, status.seed) == (0, None, 7)
    assert "There is no style 'two'" in told(status)
    assert "It plays with lofid's own models, and its music begins anew." in told(status)
    first, status = status_after(daemon(folder))
    assert first >= 3
    assert (status.style, told(status)) == (None, "")


def test_a_preset_brings_its_style_to_a_new_session_only(folder: Path) -> None:
    presets = folder / "config" / "lofid" / "presets"
    presets.mkdir(parents=True)
    for name in ("one", "two"):
        (presets / f"in-{name}.toml").write_text(f'style = "{name}"\n')
    with daemon(folder, "--preset", "in-one") as playing:
        playing.start()
        with playing.listening("bar") as listener:
            listener.bar()
            client = listener.client
            client.preset_save("kept")
            assert load_preset("kept", presets).style == "one"
            client.preset_load("in-one")
            assert told(client.status()) == ""
            client.preset_load("in-two")
            status = client.status()
            assert (status.preset, status.style) == ("in-two", "one")
            assert "asks for the style 'two'" in told(status)
            assert "still plays in the style 'one'" in told(status)
            listener.bar()
            listener.bar()
        playing.stop()
    first, status = status_after(daemon(folder))
    assert first > 0, "the preset that was loaded costs the session nothing"
    assert (status.preset, status.style, told(status)) == ("in-two", "one", "")


@pytest.mark.parametrize(
    ("kept", "given", "expected"),
    [
        ({}, {}, {}),
        ({"style": "one"}, {}, {"style": "one"}),
        ({}, {"style": "one"}, {"style": "one"}),
        ({"style": "one"}, {"style": "two"}, {"style": "two"}),
        ({"style": "gone"}, {}, {}),
        ({"model": "gone", "style": "one"}, {}, {}),
        ({"keys-model": "KEYS", "style": "gone"}, {}, {"keys-model": "KEYS"}),
        ({"keys-model": "KEYS"}, {"style": "one"}, {"keys-model": "KEYS", "style": "one"}),
        ({"style": "one"}, {"keys-model": "KEYS"}, {"keys-model": "KEYS"}),
    ],
)
def test_what_a_session_goes_on_with(
    kept: dict[str, str], given: dict[str, str], expected: dict[str, str], folder: Path
) -> None:
    def placed(voices: dict[str, str]) -> dict[str, str]:
        return {option: name.replace("KEYS", str(KEYS)) for option, name in voices.items()}

    voices, told = taken_up(placed(kept), placed(given))
    assert voices == placed(expected)
    assert bool(told) == (voices != placed(kept))


def test_what_is_asked_for_must_be_there(folder: Path) -> None:
    for given in ({"style": "gone"}, {"model": "gone"}, {"drums-model": str(KEYS)}):
        with pytest.raises(LofidError):
            taken_up({"style": "one"}, given)
        with pytest.raises(LofidError):  # what was kept may go; what is asked for is not left out
            taken_up(given, given)
