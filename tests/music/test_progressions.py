from lofid.music.chords import Mode
from lofid.music.parameters import Mood
from lofid.music.progressions import progressions


def test_loops_are_four_or_eight_bars_of_one_or_two_chords() -> None:
    for loop in progressions():
        assert len(loop.bars) in (4, 8)
        assert all(len(bar) in (1, 2) for bar in loop.bars)


def test_nearly_every_bar_has_a_seventh_or_ninth() -> None:
    bars = [bar for loop in progressions() for bar in loop.bars]
    rich = sum(all(chord.quality.is_extended for chord in bar) for bar in bars)
    assert rich >= 0.95 * len(bars)


def test_every_mood_has_a_choice_of_loops_in_some_mode_with_and_without_borrowed_chords() -> None:
    for mood in Mood:
        of_mood = [loop for loop in progressions() if mood in loop.moods]
        assert len(of_mood) >= 5
    for mode in Mode:
        borrowing = [loop.is_borrowing for loop in progressions() if loop.mode is mode]
        assert 3 <= sum(borrowing) < len(borrowing) - 3


def test_no_loop_is_there_twice() -> None:
    every = [(loop.mode, loop.bars) for loop in progressions()]
    assert len(set(every)) == len(every)
