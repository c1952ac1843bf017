"""Where the key comes from, and which one follows a key that was refused."""

import logging
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import keyring.core
import pytest
from keyring.backends import fail, null
from keyrings.alt.file import PlaintextKeyring

from tests.uploader.rig import Asked, Reply, ScriptedServer, json_reply
from uploader import config, key_stores
from uploader.api import AtomscaleApi
from uploader.config import ApiKey
from uploader.errors import ConfigurationError
from uploader.key_stores import KeyFile, SystemKeyring
from uploader.keys import Keys

URL, ELSEWHERE = "https://api.invalid", "https://other.invalid"
OLD, NEW, OTHER = "the-old-key-4711", "the-new-key-4712", "another-key-4713"

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="the bits of a file's mode say nothing there")


@pytest.fixture
def path() -> Path:
    """Where the key file is looked for."""
    return config.key_file()[0]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PlaintextKeyring:
    """A real keyring backend that keeps its entries in a file of the test's own."""
    backend = PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
    return backend


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def reveal(key: ApiKey | None) -> str | None:
    return None if key is None else key.reveal()


# The order ----------------------------------------------------------------------------------------------


def test_the_key_comes_from_argument_environment_file_and_keyring_in_this_order(
    path: Path, ring: PlaintextKeyring
) -> None:
    with pytest.raises(ConfigurationError):
        Keys(URL).current()
    SystemKeyring().write(URL, ApiKey("in-the-keyring"))
    assert ring.get_password("framespool", URL) == "in-the-keyring"
    assert Keys(URL).current().reveal() == "in-the-keyring"
    write(path, "in-the-file\n")
    assert Keys(URL).current().reveal() == "in-the-file"
    environ = {"AS_API_KEY": "in-the-environment"}
    assert Keys(URL, None, environ).current().reveal() == "in-the-environment"
    assert Keys(URL, "given", environ).current().reveal() == "given"


def test_without_any_key_the_hint_names_every_way() -> None:
    with pytest.raises(ConfigurationError, match="there is no API key") as caught:
        Keys(URL).current()
    assert all(
        way in caught.value.hint for way in ("AS_API_KEY ", "api_key=", "AS_API_KEY_FILE", "framespool login")
    )


def test_a_named_key_file_counts_in_the_place_of_the_usual_one_and_must_be_there(
    path: Path, tmp_path: Path
) -> None:
    write(path, OLD)
    environ = {"AS_API_KEY_FILE": str(tmp_path / "mounted")}
    with pytest.raises(ConfigurationError, match="mounted is not there"):
        Keys(URL, None, environ).current()
    write(tmp_path / "mounted", NEW)
    assert Keys(URL, None, environ).current().reveal() == NEW


# What follows a refused key -----------------------------------------------------------------------------


def test_a_key_put_into_the_file_later_follows_the_refused_one_of_the_environment(path: Path) -> None:
    keys = Keys(URL, None, {"AS_API_KEY": OLD})
    assert keys.renewed(keys.current()) is None
    write(path, OLD)
    assert keys.renewed(keys.current()) is None
    write(path, NEW)
    assert reveal(keys.renewed(keys.current())) == NEW


def test_a_key_put_into_the_keyring_later_follows_too_and_so_does_the_first_one(ring: PlaintextKeyring) -> None:
    keys = Keys(URL, OLD, {})
    first = keys.current()
    ring.set_password("framespool", URL, NEW)
    second = keys.renewed(first)
    assert reveal(second) == NEW
    assert second is not None
    assert keys.renewed(second) == first
    assert keys.renewed(first, second) is None


def test_a_given_key_that_is_refused_is_not_followed_by_that_of_the_environment() -> None:
    keys = Keys(URL, OLD, {"AS_API_KEY": OTHER})
    assert keys.renewed(keys.current()) is None


def test_a_key_stored_for_one_server_is_never_sent_to_another(path: Path, ring: PlaintextKeyring) -> None:
    KeyFile(path).write(ELSEWHERE, ApiKey(OTHER))
    ring.set_password("framespool", ELSEWHERE, OTHER)
    assert Keys(URL, OLD, {}).renewed(ApiKey(OLD)) is None
    with pytest.raises(ConfigurationError):
        Keys(URL).current()


def test_why_a_place_cannot_be_used_is_said_once_and_delivery_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir(parents=True)
    keys = Keys(URL, OLD, {})
    assert keys.renewed(keys.current()) is None
    assert keys.renewed(keys.current()) is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "no key file" in caplog.text


def test_a_refused_key_is_followed_by_each_other_and_the_accepted_one_is_kept(
    path: Path, ring: PlaintextKeyring
) -> None:
    def answer(asked: Asked) -> Reply:
        # It repeats the key, as a proxy's page may.
        said = {"detail": asked.headers["x-api-key"]}
        return json_reply([said]) if asked.headers["x-api-key"] == NEW else json_reply(said, 401)

    write(path, OTHER)
    ring.set_password("framespool", URL, "not asked: it is for another server")
    with ScriptedServer(answer) as server:
        ring.set_password("framespool", server.url, NEW)
        with AtomscaleApi(server.url, Keys(server.url, OLD, {})) as api:
            answers = [api.tags(), api.tags()]
        assert [asked.headers["x-api-key"] for asked in server.asked] == [OLD, OTHER, NEW, NEW]
    assert [one.status for one in answers] == [200, 200]
    assert not any(key in one.text for one in answers for key in (OLD, OTHER, NEW))


def test_every_key_that_was_tried_is_struck_out_of_what_comes_back(path: Path) -> None:
    said = {"you sent": [OLD, NEW]}
    write(path, NEW)
    with (
        ScriptedServer(lambda _asked: json_reply(said, 403)) as server,
        AtomscaleApi(server.url, Keys(server.url, OLD, {})) as api,
    ):
        answer = api.tags()
    assert answer.status == 403
    assert "***" in answer.text
    assert not any(key in answer.text + answer.words for key in (OLD, NEW))


def test_an_outage_in_the_middle_says_nothing_for_the_other_key(path: Path) -> None:
    statuses = {OLD: 401, NEW: 503}
    write(path, NEW)
    with ScriptedServer(lambda asked: Reply(status=statuses[asked.headers["x-api-key"]])) as server:
        keys = Keys(server.url, OLD, {})
        with AtomscaleApi(server.url, keys) as api:
            assert api.tags().status == 503
    assert keys.current().reveal() == OLD


def test_many_threads_that_are_refused_at_once_all_end_with_the_new_key(path: Path) -> None:
    write(path, NEW)
    answers: list[int] = []

    def status(asked: Asked) -> Reply:
        return json_reply([]) if asked.headers["x-api-key"] == NEW else json_reply({}, 401)

    with ScriptedServer(status) as server, AtomscaleApi(server.url, Keys(server.url, OLD, {})) as api:
        threads = [threading.Thread(target=lambda: answers.append(api.tags().status)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert answers == [200] * 8


# The file -----------------------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_file_that_others_can_use_is_refused_with_the_remedy(path: Path, mode: int) -> None:
    write(path, NEW, mode)
    with pytest.raises(ConfigurationError, match="others") as caught:
        Keys(URL).current()
    assert f"chmod 600 {path}" in caught.value.hint
    assert NEW not in str(caught.value) + caught.value.hint
    path.chmod(0o400)
    assert Keys(URL).current().reveal() == NEW


def test_a_key_file_is_written_private_whole_and_keeps_what_is_for_other_servers(path: Path) -> None:
    write(path, f"{ELSEWHERE} {OTHER}\n{OLD}\n", 0o644)
    KeyFile(path).write(URL, ApiKey(NEW))
    assert path.read_text() == f"{ELSEWHERE} {OTHER}\n{OLD}\n{URL} {NEW}\n"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["key"]
    assert reveal(KeyFile(path).read(URL)) == NEW
    assert reveal(KeyFile(path).read(ELSEWHERE)) == OTHER
    assert reveal(KeyFile(path).read("https://third.invalid")) == OLD
    assert KeyFile(path).remove(URL)
    assert path.read_text() == f"{ELSEWHERE} {OTHER}\n"
    assert not KeyFile(path).remove(URL)
    assert KeyFile(path).remove(ELSEWHERE)
    assert not path.exists()


@posix_only
def test_the_folder_of_a_new_key_file_is_private(path: Path) -> None:
    KeyFile(path).write(URL, ApiKey(NEW))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (NEW.encode("utf-16"), "UTF-8"),
        (f"{OLD}\n{NEW}\n".encode(), "2 keys"),
        (b"x" * 100_000, "no key file"),
        (b"a\x00secret", "characters"),
        (f"{URL}\n".encode(), "characters"),
    ],
    ids=["utf-16", "two keys", "long", "binary", "no key"],
)
def test_what_is_no_key_file_is_refused_without_being_shown(path: Path, content: bytes, words: str) -> None:
    write(path, "")
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        KeyFile(path).read(URL)
    assert not any(text in str(caught.value) for text in (OLD, NEW, "secret"))


@pytest.mark.parametrize("content", [f"\ufeff{NEW}\r\n", f"\n  {NEW}  \n", f"{URL}/ {NEW}"])
def test_a_key_file_may_be_written_by_any_editor(path: Path, content: str) -> None:
    write(path, "")
    path.write_bytes(content.encode())
    assert reveal(KeyFile(path).read(URL)) == NEW


@posix_only
def test_a_pipe_in_the_place_of_the_key_file_stops_nobody(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="no key file"):
        KeyFile(path).read(URL)


# The keyring --------------------------------------------------------------------------------------------


def test_the_keyring_keeps_gives_and_removes_a_key(ring: PlaintextKeyring) -> None:
    store = SystemKeyring()
    assert store.read(URL) is None
    assert not store.remove(URL)
    store.write(URL, ApiKey(NEW))
    assert ring.get_password("framespool", URL) == NEW
    assert reveal(store.read(URL)) == NEW
    assert store.remove(URL)
    assert store.read(URL) is None


class Failing:
    """A keyring that stands but does not let us in."""

    def get_keyring(self) -> object:
        return self

    def get_password(self, *_: str) -> str:
        raise RuntimeError(f"locked: {NEW}")

    set_password = get_password


def test_a_locked_keyring_is_an_error_that_names_the_file_and_nothing_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_stores, "_keyring", Failing)
    tries: list[Callable[[], object]] = [
        lambda: SystemKeyring().read(URL),
        lambda: SystemKeyring().write(URL, ApiKey(NEW)),
        lambda: SystemKeyring().remove(URL),
    ]
    for one in tries:
        with pytest.raises(ConfigurationError, match=r"cannot be used \(RuntimeError\)") as caught:
            one()
        assert "--file" in caught.value.hint
        assert caught.value.__cause__ is None


def test_a_keyring_that_waits_for_a_person_does_not_stop_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    unlocked = threading.Event()

    class Waiting(Failing):
        def get_password(self, *_: str) -> str:
            unlocked.wait(20)
            return NEW

    monkeypatch.setattr(key_stores, "KEYRING_PATIENCE_S", 0.05)
    monkeypatch.setattr(key_stores, "_keyring", Waiting)
    keys = Keys(URL, OLD, {})
    assert keys.renewed(keys.current()) is None
    assert keys.renewed(keys.current()) is None
    assert sum(thread.name == "framespool-keyring" for thread in threading.enumerate()) == 1
    unlocked.set()
    for thread in threading.enumerate():
        if thread.name == "framespool-keyring":
            thread.join(20)
    assert reveal(keys.renewed(keys.current())) == NEW


@pytest.mark.parametrize("none", [fail.Keyring, null.Keyring])
def test_a_machine_without_a_keyring_has_no_key_there_and_says_so_when_one_is_to_be_stored(
    none: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", none())
    assert SystemKeyring().read(URL) is None
    assert not SystemKeyring().remove(URL)
    with pytest.raises(ConfigurationError, match="no keyring") as caught:
        SystemKeyring().write(URL, ApiKey(NEW))
    assert "--file" in caught.value.hint


def test_without_the_extra_the_keyring_is_empty_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert SystemKeyring().read(URL) is None
    with pytest.raises(ConfigurationError) as caught:
        SystemKeyring().usable()
    assert "framespool[keyring]" in caught.value.hint
    assert "--file" in caught.value.hint
