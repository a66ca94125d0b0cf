import stat
from pathlib import Path

import pytest
import zmq

from lofid.errors import LofidError
from lofid.service.keys import ClientKeys, KeyStore


def test_a_client_gets_a_file_that_fits_the_server(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    public = store.create()
    keys = store.add("phone")
    keys.write(tmp_path / "phone.lofidkey", "phone")
    assert ClientKeys.read(tmp_path / "phone.lofidkey") == keys
    assert keys.server == public
    assert zmq.curve_public(keys.secret.encode()) == keys.public.encode()
    assert store.clients() == {"phone": keys.public}


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
