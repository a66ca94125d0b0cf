from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.headers import drum_hits, drums_header
from lofid.music.parameters import Settings
from lofid.tokens import drums

DENSITY = drums.VOCABULARY.block("density")


def density_asked(dial: float) -> int:
    """The bin of density in the header of a full-kit bar, 0 for unspecified."""
    settings = Settings().with_value("groove.drum_density", dial)
    song = compose_song(settings, 1, 0, None)
    header = drums_header(plan_bar(settings, 1, song, locate(song, 20), 20))
    return next(token for token in header if token in DENSITY) - DENSITY.start


def test_no_dial_asks_for_fewer_hits_than_a_groove_has() -> None:
    assert density_asked(0.0) == drums.DENSITY.member(6)
    assert density_asked(1.0) == drums.DENSITY.member(29)
    hits = [drum_hits(dial / 20) for dial in range(21)]
    assert hits == sorted(hits)
