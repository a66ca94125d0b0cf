"""Prepared passes: the same tokens, complete or not there, and drawn again where damaged."""

import ast
import hashlib
import json
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lofid.errors import LofidError
from lofid.learn import shards
from lofid.learn.sequences import Corpus, TokenStream, drums_corpus, keys_corpus
from lofid.learn.shards import Recipe, open_shards, prepare, prepared_corpus, recipe

PACKAGE = Path(shards.__file__).parents[1]


def _refuse() -> Corpus:
    raise AssertionError("the data sets were read again")


def _same(left: TokenStream, right: TokenStream) -> bool:
    return (
        np.array_equal(left.tokens, right.tokens)
        and np.array_equal(left.is_event, right.is_event)
        and left.notes == right.notes
    )


@pytest.fixture
def drums(data: Path) -> Recipe:
    return recipe("drums", data, 3)


def test_prepared_passes_hold_the_tokens_that_are_drawn(data: Path, tmp_path: Path) -> None:
    plain = keys_corpus(data, 3)
    prepared = prepared_corpus("keys", data, 3, tmp_path)
    assert prepared.sources == plain.sources
    assert prepared.vocabulary is plain.vocabulary
    for half in ("choosing", "reported"):
        assert _same(getattr(prepared, half), getattr(plain, half))
        assert getattr(prepared, half).spans == getattr(plain, half).spans != ()
    for number in (0, 2):
        stream = prepared.stream(number)
        assert isinstance(stream.tokens, np.memmap)
        assert stream.tokens.dtype == np.int16
        assert _same(stream, plain.stream(number))


def test_what_is_prepared_needs_no_data_sets_read(drums: Recipe, tmp_path: Path) -> None:
    assert list(prepare(drums, tmp_path, range(2))) == [0, 1]
    again = replace(drums, draw=_refuse)
    assert list(prepare(again, tmp_path, range(2))) == [0, 1]
    corpus = open_shards(tmp_path, again)
    assert len(corpus.stream(1).tokens) > 100
    with pytest.raises(AssertionError, match="read again"):
        corpus.stream(2)


def test_several_processes_draw_the_same(drums: Recipe, data: Path, tmp_path: Path) -> None:
    assert sorted(prepare(drums, tmp_path, range(3), workers=2)) == [0, 1, 2]
    plain, corpus = drums_corpus(data, 3), open_shards(tmp_path, replace(drums, draw=_refuse))
    assert all(_same(corpus.stream(number), plain.stream(number)) for number in range(3))


def test_a_pass_is_drawn_while_another_one_is(drums: Recipe, tmp_path: Path) -> None:
    plain = drums.draw()

    def meanwhile(number: int) -> TokenStream:
        assert _same(open_shards(tmp_path, drums).stream(number + 1), plain.stream(number + 1))
        return plain.stream(number)

    slow = replace(drums, draw=lambda: replace(plain, stream=meanwhile))
    assert _same(open_shards(tmp_path, slow).stream(0), plain.stream(0))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
@pytest.mark.parametrize("kind", ["tokens.npy", "events.npy", "json"])
def test_a_damaged_pass_is_drawn_again(
    drums: Recipe, tmp_path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    before = np.array(open_shards(tmp_path, drums).stream(0).tokens)
    damage(tmp_path / drums.name / f"pass-0000.{kind}")
    assert np.array_equal(open_shards(tmp_path, drums).stream(0).tokens, before)
    assert np.array_equal(
        open_shards(tmp_path, replace(drums, draw=_refuse)).stream(0).tokens, before
    )


def test_a_build_that_was_killed_goes_on(drums: Recipe, tmp_path: Path) -> None:
    open_shards(tmp_path, drums).stream(0)
    folder = tmp_path / drums.name
    # What a process leaves that is killed between the files of pass 1.
    (folder / "pass-0001.tokens.npy").write_bytes(b"\x93NUMPY")
    (folder / ".pass-0001.events.4711.part.npy").write_bytes(b"half")
    corpus = open_shards(tmp_path, drums)
    assert _same(corpus.stream(1), drums.draw().stream(1))
    assert not list(folder.glob(".*part*"))


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(drums: Recipe, tmp_path: Path) -> None:
    open_shards(tmp_path, drums)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(LofidError, match=r"could not be written .*make room"):
            open_shards(tmp_path, drums).stream(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = [path for path in (tmp_path / drums.name).iterdir() if path.suffix != ".lock"]
    assert not any("pass-0000" in path.name for path in left)
    assert len(open_shards(tmp_path, drums).stream(0).tokens) > 2000


def test_other_data_another_seed_or_version_are_other_folders(
    drums: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        drums.name,
        replace(drums, seed=4).name,
        replace(drums, sources={**drums.sources, "drums_gmd": "0" * 64}).name,
    }
    monkeypatch.setattr("lofid.learn.shards.version", lambda: "other code")
    names.add(drums.name)
    assert len(names) == 4


def test_the_manifest_says_what_the_passes_are(drums: Recipe, tmp_path: Path) -> None:
    open_shards(tmp_path, drums)
    manifest = json.loads((tmp_path / drums.name / "manifest.json").read_text())
    assert manifest["vocabulary_hash"] == drums.vocabulary.hash
    assert manifest["seed"] == 3
    assert set(manifest["sources"]) == {"drums_gmd", "drums_stickflow"}


def test_streams_never_change_unnoticed(data: Path) -> None:
    """Held-out figures hang on these bytes: where they must change, measure them anew."""
    digests = []
    for read in (keys_corpus, drums_corpus):
        corpus = read(data, 1)
        digest = hashlib.sha256()
        for stream in (corpus.choosing, corpus.reported, corpus.stream(0), corpus.stream(1)):
            digest.update(stream.tokens.tobytes() + stream.is_event.tobytes())
        digests.append(digest.hexdigest()[:16])
    assert digests == ["68b9bc3dc62273df", "a4c9e75d794bcd39"]


def test_the_version_covers_all_code_that_draws() -> None:
    """What a listed module imports is listed, too, but for what no token hangs on."""
    outside = {"errors", "files", "music.plan"}
    outside |= {f"learn.{name}" for name in ("configs", "own", "sources", "unpack")}
    listed = {name.removesuffix(".py").replace("/", ".") for name in shards.DRAWING}
    for name in shards.DRAWING:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lofid."):
                base = (node.module or "").removeprefix("lofid.")
                members = {f"{base}.{alias.name}" for alias in node.names}
                assert base in listed | outside or members <= listed | outside, (name, base)


def test_other_code_that_draws_is_another_version(tmp_path: Path) -> None:
    copy = tmp_path / "lofid"
    for name in shards.DRAWING:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, copy / name)
    assert shards.version.__wrapped__(copy) == shards.version()
    (copy / "learn" / "pieces.py").write_text("HELD_OUT_PERCENT = 6")
    assert shards.version.__wrapped__(copy) != shards.version()
