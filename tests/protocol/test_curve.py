import stat
from pathlib import Path

import pytest
import zmq

from lofid.errors import LofidError
from lofid.protocol.curve import ClientKeys, KeyStore, KnownClient
from lofid.protocol.roles import Role


def test_a_client_gets_a_file_that_fits_the_server(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    public = store.create()
    keys = store.add("phone")
    keys.write(tmp_path / "phone.lofidkey", "phone")
    assert ClientKeys.read(tmp_path / "phone.lofidkey") == keys
    assert keys.server == public
    assert zmq.curve_public(keys.secret.encode()) == keys.public.encode()
    assert store.clients() == {"phone": KnownClient(keys.public, Role.STEER)}


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.create()
    store.add("phone").write(tmp_path / "phone.lofidkey", "phone")
    for path in (tmp_path / "keys" / "server.key", tmp_path / "phone.lofidkey"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    everything = (tmp_path / "keys" / "clients" / "phone.key").read_text()
    assert "secret" not in everything


def test_what_cannot_be_done_with_keys_is_told(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    with pytest.raises(LofidError, match="lofid keys make"):
        store.add("phone")
    store.create()
    with pytest.raises(LofidError, match="already"):
        store.create()
    store.add("phone")
    with pytest.raises(LofidError, match="already"):
        store.add("phone")
    with pytest.raises(LofidError, match="cannot be called"):
        store.add("../phone")
    with pytest.raises(LofidError, match="there are: phone"):
        store.remove("fone")
    store.remove("phone")
    assert store.clients() == {}


@pytest.mark.parametrize("text", ["", "public = 3", 'public = "short"', "\x00", "server = ["])
def test_a_file_without_keys_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.lofidkey"
    path.write_text(text)
    with pytest.raises(LofidError, match="lofid keys"):
        ClientKeys.read(path)


def test_a_key_has_a_role_that_can_be_changed(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.create()
    public = store.add("wall", Role.LISTEN).public
    assert store.clients() == {"wall": KnownClient(public, Role.LISTEN)}
    store.change("wall", Role.OWN)
    assert store.clients() == {"wall": KnownClient(public, Role.OWN)}
    with pytest.raises(LofidError, match="no client 'door'; there are: wall"):
        store.change("door", Role.OWN)


def test_a_key_from_before_roles_keeps_what_it_could_do(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.create()
    public = store.add("old").public
    (tmp_path / "clients" / "old.key").write_text(f'public = "{public}"\n')
    assert store.clients()["old"].role is None
    assert store.clients()["old"].may is Role.OWN


@pytest.mark.parametrize("text", ['public = "x"', 'public = "{}"\nrole = "king"', "[", "link"])
def test_one_bad_file_keeps_nobody_else_out(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = KeyStore(tmp_path)
    store.create()
    good, bad = store.add("good"), store.add("bad")
    path = tmp_path / "clients" / "bad.key"
    path.unlink()
    if text == "link":
        path.symlink_to(tmp_path / "nothing")
    else:
        path.write_text(text.format(bad.public))
    assert store.clients() == {"good": KnownClient(good.public, Role.STEER)}
    assert "bad.key" in caplog.text


def test_a_key_that_is_written_anew_in_place_is_another_version(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.create()
    store.add("phone", Role.OWN)
    before = store.version()
    assert store.version() == before
    path = tmp_path / "clients" / "phone.key"
    path.write_text(path.read_text().replace("own", "listen"))  # as an editor may
    assert store.version() != before
    assert store.clients()["phone"].may is Role.LISTEN


def test_each_role_may_do_what_those_before_it_may() -> None:
    listen, steer, own = Role
    allowed = [(a, b) for a in Role for b in Role if a.allows(b)]
    assert allowed == [
        (listen, listen), (steer, listen), (steer, steer), (own, listen), (own, steer), (own, own),
    ]  # fmt: skip
