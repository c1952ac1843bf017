import copy
import pickle
import traceback
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from uploader import config
from uploader.config import ApiKey
from uploader.errors import ConfigurationError

SECRET = "sk-4711-very-secret"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, lambda key: f"{[key]} {{'k': {key}}}"])
def test_the_key_never_shows_in_text(show: Any) -> None:
    assert SECRET not in show(ApiKey(SECRET))


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy])
def test_the_key_cannot_be_pickled_or_copied_along_with_something_else(write: Any) -> None:
    with pytest.raises(TypeError, match="not written anywhere") as caught:
        write({"key": ApiKey(SECRET), "list": [ApiKey(SECRET)]} if write is not copy.copy else ApiKey(SECRET))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_key_comes_from_the_argument_then_the_new_variable_then_the_old_one() -> None:
    environ = {"AS_API_KEY": "new", "ATOMSCALE_API_KEY": "old"}
    assert config.api_key("given", environ).reveal() == "given"
    assert config.api_key(None, environ).reveal() == "new"
    assert config.api_key(None, {"ATOMSCALE_API_KEY": "old"}).reveal() == "old"
    assert config.api_key(None, {"AS_API_KEY": "", "ATOMSCALE_API_KEY": "old"}).reveal() == "old"
    assert config.api_key(f"  {SECRET}\n", {}).reveal() == SECRET


def test_no_key_at_all_is_a_configuration_error_that_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.api_key(None, {})
    assert "AS_API_KEY" in caught.value.hint


@pytest.mark.parametrize("key", ["schl\u00fcssel", "a\nb", "a\x00b", "a\x7fb", "\ud800"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.api_key(key, {})
    assert key not in str(caught.value)
    assert key not in caught.value.hint


@pytest.mark.parametrize("key", [" ", "\t\n"])
def test_a_blank_key_is_no_key(key: str) -> None:
    with pytest.raises(ConfigurationError):
        config.api_key(key, {})
    with pytest.raises(ConfigurationError):
        config.api_key(None, {"AS_API_KEY": key})


def test_the_endpoint_comes_from_the_argument_then_the_variable_then_the_vendor() -> None:
    environ = {"AS_API_ENDPOINT": "http://variable.invalid"}
    assert config.endpoint("http://given.invalid", environ) == "http://given.invalid"
    assert config.endpoint(None, environ) == "http://variable.invalid"
    assert config.endpoint(None, {}) == "https://api.atomscale.ai"
    assert config.endpoint("", {"AS_API_ENDPOINT": ""}) == "https://api.atomscale.ai"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://api.invalid/", "https://api.invalid"),
        ("https://api.invalid///", "https://api.invalid"),
        (" https://api.invalid/v1/ ", "https://api.invalid/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_endpoint_is_trimmed_so_that_paths_can_follow(given: str, meant: str) -> None:
    assert config.endpoint(given, {}) == meant


@pytest.mark.parametrize("spelling", ["HTTPS://api.invalid", "https://API.invalid/", "https://api.invalid:443"])
def test_one_server_has_one_name_however_it_is_spelled(spelling: str) -> None:
    """A worker delivers only the streams of its own endpoint: another spelling must not leave them behind."""
    assert config.endpoint(spelling, {}) == config.endpoint("https://api.invalid", {})


@pytest.mark.parametrize(
    "given",
    [
        "api.invalid",
        "ftp://api.invalid",
        "file:///",
        "http://",
        "https:///path",
        "http://host:port",
        "http://host:0",
        "http://host:99999",
        "http://[::1",
        "http://user:word@host",
        "http://user@host",
        "http://:word@host",
        "http://host/?a=1",
        "http://host/#top",
        "http://ho st",
        "http://ho\nst",
        "http://host\r\nX-Evil: 1",
        "http://\ud800",
    ],
)
def test_an_endpoint_that_cannot_be_used_is_a_configuration_error(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.endpoint(given, {})
    assert "word" not in str(caught.value).replace("password", "")


def test_the_spool_is_the_argument_then_the_variable_then_the_users_data(tmp_path: Path) -> None:
    environ = {"ATOMSCALE_SPOOL_DIR": str(tmp_path / "variable")}
    assert config.spool_dir(tmp_path / "given", environ) == tmp_path / "given"
    assert config.spool_dir(str(tmp_path / "given"), environ) == tmp_path / "given"
    assert config.spool_dir(None, environ) == tmp_path / "variable"
    assert config.spool_dir("", {"ATOMSCALE_SPOOL_DIR": ""}) == config.spool_dir(None, {})
    default = config.spool_dir(None, {})
    assert default.is_relative_to(platformdirs.user_data_dir("framespool", appauthor=False))
    assert not default.is_relative_to(platformdirs.user_cache_dir())


def test_a_relative_or_home_spool_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert config.spool_dir("here", {}) == tmp_path / "here"
    assert config.spool_dir("~/there", {}) == tmp_path / "home" / "there"


@pytest.mark.parametrize(
    ("text", "skips"),
    [(None, False), ("", False), ("0", False), ("false", False), ("No", False), ("1", True), ("TRUE", True)],
)
def test_the_clock_is_skipped_when_the_variable_says_so(text: str | None, skips: bool) -> None:
    environ = {} if text is None else {"ATOMSCALE_SKIP_CLOCK_SYNC": text}
    assert config.skips_clock(environ) is skips


@pytest.mark.parametrize(("environ", "takes"), [({}, False), ({"FRAMESPOOL_UNSAFE_FILE_SYSTEM": "1"}, True)])
def test_a_spool_where_it_is_not_safe_is_asked_for_by_a_variable(environ: dict[str, str], takes: bool) -> None:
    assert config.takes_unsafe_file_system(environ) is takes
