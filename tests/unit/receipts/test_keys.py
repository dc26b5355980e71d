"""Signing keys: made, rotated, retired, published; the private half stays where it is."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from countermark_service.receipts.errors import NoSigningKeyError, SigningKeysError
from countermark_service.receipts.keyring import Keyring
from countermark_service.receipts.keys import KeySet
from tests.unit.receipts.conftest import DAY, Clock


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def ring(tmp_path: Path, clock: Clock) -> Keyring:
    """A keyring with no key."""
    return Keyring(tmp_path / "signing", now=clock)


def test_the_private_half_is_its_owners_alone(ring: Keyring) -> None:
    key = ring.make()
    (private,) = ring.folder.glob("*.pem")
    assert private.stem == key.keyid
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(ring.folder.stat().st_mode) == 0o700
    assert "PRIVATE" not in ring.public().encoded().decode()


def test_a_private_key_that_others_can_read_does_not_sign(ring: Keyring) -> None:
    key = ring.make()
    ring.signer()
    (ring.folder / f"{key.keyid}.pem").chmod(0o640)
    with pytest.raises(NoSigningKeyError, match="chmod 600"):
        Keyring(ring.folder, now=lambda: Clock().now).signer()


def test_without_a_key_nothing_is_signed_and_the_sentence_says_what_to_do(
    ring: Keyring, clock: Clock
) -> None:
    with pytest.raises(NoSigningKeyError, match=r"no signing key.*countermark keys new"):
        ring.signer()
    ring.make(days=1)
    clock.now += 2 * DAY
    with pytest.raises(NoSigningKeyError, match=r"none of its 1 signing keys is valid now.*keys rotate"):
        ring.signer()


def test_a_clock_that_went_back_is_told_from_keys_that_have_expired(ring: Keyring, clock: Clock) -> None:
    ring.make()
    clock.now -= DAY
    with pytest.raises(NoSigningKeyError, match=r"one is from .* on: is the clock of this machine right\?"):
        ring.signer()


def test_rotation_retires_what_was_and_deletes_its_private_half(ring: Keyring, clock: Clock) -> None:
    old = ring.make()
    clock.now += DAY
    new = ring.rotate(label="second")

    keys = ring.public().keys
    assert [key.retired for key in keys.values()] == ["2026-11-29T12:00:00Z", None]
    assert [file.stem for file in ring.folder.glob("*.pem")] == [new.keyid]
    assert ring.signer().keyid == new.keyid
    assert keys[old.keyid].fault_at("2026-11-28T18:00:00Z") is None
    assert keys[old.keyid].fault_at("2026-11-30T00:00:00Z") == "was retired at 2026-11-29T12:00:00Z"


def test_a_second_key_is_made_by_rotation_only(ring: Keyring) -> None:
    ring.make()
    with pytest.raises(SigningKeysError, match="keys rotate"):
        ring.make()


def test_a_process_that_runs_takes_notice_of_a_rotation(ring: Keyring, clock: Clock) -> None:
    ring.make()
    running = Keyring(ring.folder, now=clock)
    before = running.signer().keyid
    ring.rotate()
    assert running.signer().keyid == ring.signer().keyid != before


@pytest.mark.parametrize("beginning", ["", "no such key"])
def test_retiring_needs_exactly_one_key(ring: Keyring, beginning: str) -> None:
    ring.make()
    with pytest.raises(SigningKeysError, match="0 keys have an id that begins with"):
        ring.retire(beginning)


@pytest.mark.parametrize("days", [0, -1, 40_000, float("nan")])
def test_a_validity_that_is_none_is_refused(ring: Keyring, days: float) -> None:
    with pytest.raises(SigningKeysError, match="cannot be valid for"):
        ring.make(days=days)


def test_a_published_set_is_read_back(ring: Keyring) -> None:
    ring.make(label="Example Lab")
    ring.rotate()
    published = ring.public().encoded()
    assert KeySet.parse(published, "keys.json") == ring.public()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keyval": {"public": "00" * 32}}, "does not belong to its public value"),
        ({"keyval": {"public": "zz"}}, "cannot be used"),
        ({"keyval": {"public": "00" * 31}}, "cannot be used"),
        ({"keytype": "rsa"}, "signed with ed25519"),
        ({"valid_until": "next year"}, "cannot be used"),
        ({"valid_till": "2030-01-01T00:00:00Z"}, "no set of signing keys"),
    ],
)
def test_a_set_that_was_changed_is_refused(ring: Keyring, change: dict[str, Any], said: str) -> None:
    ring.make()
    document = json.loads(ring.public().encoded())
    document["keys"][0] |= change
    with pytest.raises(SigningKeysError, match=said):
        KeySet.parse(json.dumps(document).encode(), "keys.json")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"type": "jwks", "keys": []}', b"\xff"])
def test_what_is_no_key_set_is_refused(data: bytes) -> None:
    with pytest.raises(SigningKeysError, match=r"keys\.json"):
        KeySet.parse(data, "keys.json")


def test_of_two_entries_for_a_key_the_stricter_counts(ring: Keyring) -> None:
    key = ring.make()
    before = ring.public().keys.values()
    retired = ring.retire(key.keyid[:12], compromised=True)
    for order in ([*before, retired], [retired, *before]):
        assert KeySet.of(order).keys[key.keyid].compromised
        assert KeySet.of(order).keys[key.keyid].retired is not None


def test_a_key_file_that_holds_another_key_does_not_sign(ring: Keyring, tmp_path: Path) -> None:
    key = ring.make()
    other = Keyring(tmp_path / "other")
    (ring.folder / f"{key.keyid}.pem").write_bytes((other.folder / f"{other.make().keyid}.pem").read_bytes())
    with pytest.raises(NoSigningKeyError, match="holds another key"):
        ring.signer()


def test_of_several_that_make_the_first_key_at_once_one_does(ring: Keyring, clock: Clock) -> None:
    def make(_: int) -> bool:
        try:
            Keyring(ring.folder, now=clock).make()
        except SigningKeysError:
            return False
        return True

    with ThreadPoolExecutor(8) as several:
        assert sum(several.map(make, range(8))) == 1
    (key,) = ring.public().keys
    assert [file.stem for file in ring.folder.glob("*.pem")] == [key]


def test_keys_that_are_rotated_at_once_are_all_published(ring: Keyring, clock: Clock) -> None:
    with ThreadPoolExecutor(8) as several:
        made = list(several.map(lambda _: Keyring(ring.folder, now=clock).rotate().keyid, range(8)))
    assert sorted(ring.public().keys) == sorted(made)
    assert len(list(ring.folder.glob("*.pem"))) == 1
