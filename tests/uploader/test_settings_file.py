"""One TOML file for all settings: what is usable in it, what is not, and how that is said."""

import os
from pathlib import Path

import pytest

from uploader import config
from uploader.errors import ConfigurationError
from uploader.known_settings import SETTINGS
from uploader.resolving import every_spool, resolve
from uploader.settings_file import read_settings_file
from uploader.streamer import RHEEDStreamer


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


TWO = """
endpoint = "http://common.invalid"
retention_s = "never"
[[spool]]
dir = "one"
[[spool]]
dir = "/elsewhere/two"
name = "pld"
endpoint = "http://two.invalid/"
max_bytes = 200e9
"""


def test_each_spool_has_its_own_settings_and_the_common_ones_elsewhere(tmp_path: Path) -> None:
    environ = {"FRAMESPOOL_CONFIG": str(written(tmp_path, TWO))}
    one, two = every_spool(config.sources({}, environ))
    assert (one.name, one.root, one.endpoint) == ("one", tmp_path / "one", "http://common.invalid")
    assert (two.name, two.root, two.endpoint) == ("pld", Path("/elsewhere/two"), "http://two.invalid")
    assert one.limits.max_bytes is None
    assert two.limits.max_bytes == 200_000_000_000
    assert one.limits.retention_s is two.limits.retention_s is None


def test_a_flag_beats_the_environment_and_that_the_spools_table_and_that_the_file(
    tmp_path: Path,
) -> None:
    text = "min_free_bytes = 1\n[[spool]]\ndir = 'a'\nmin_free_bytes = 2\n"
    path = written(tmp_path, text)
    file, environ = {"FRAMESPOOL_CONFIG": str(path)}, {"FRAMESPOOL_MIN_FREE_BYTES": "3"}

    def won(environ: dict[str, str], given: int | None = None, spool_dir: str | None = None) -> tuple[object, str]:
        sources = config.sources({"min_free_bytes": given, "spool_dir": spool_dir}, environ, given_by="flag")
        found = every_spool(sources)[0].settings["min_free_bytes"]
        return found.value, found.origin

    assert won({**file, **environ}, 4) == (4, "flag")
    assert won({**file, **environ}) == (3, "environment FRAMESPOOL_MIN_FREE_BYTES")
    assert won(file) == (2, f"file {path}, spool a")
    assert won(file, spool_dir=str(tmp_path / "other")) == (1, f"file {path}")
    assert won({"FRAMESPOOL_CONFIG": os.devnull}) == (1 << 30, "default")
    assert won(file, 0) == (0, "flag"), "nothing is not the same as zero"


def test_every_setting_has_a_usable_default_and_names_of_its_own() -> None:
    for setting in SETTINGS:
        if setting.default is not None:
            assert setting.kind.check(setting.default) == setting.default
    for names in (
        [one.name for one in SETTINGS],
        [one.variable for one in SETTINGS],
        [one.option for one in SETTINGS],
    ):
        assert len(set(names)) == len(names)


def test_a_spool_is_meant_by_its_name_its_folder_or_by_being_the_only_one(tmp_path: Path) -> None:
    environ = {"FRAMESPOOL_CONFIG": str(written(tmp_path, TWO))}
    assert config.spool({"spool_dir": "pld"}, environ).endpoint == "http://two.invalid"
    assert config.spool({"spool_dir": "/elsewhere/two"}, environ).endpoint == "http://two.invalid"
    assert config.spool_dir(None, {**environ, "ATOMSCALE_SPOOL_DIR": "pld"}) == Path("/elsewhere/two")
    only = written(tmp_path, "[[spool]]\ndir = 'one'\n")
    assert config.spool_dir(None, {"FRAMESPOOL_CONFIG": str(only)}) == tmp_path / "one"


def test_which_of_several_spools_is_meant_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="2 spools: one, pld") as caught:
        config.spool({}, {"FRAMESPOOL_CONFIG": str(written(tmp_path, TWO))})
    assert "--spool one" in caught.value.hint


def test_the_streamer_takes_what_it_is_not_given_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[[spool]]\ndir = 'mbe1'\nendpoint = 'http://127.0.0.1:9'\nretention_s = 5\nmin_free_bytes = 0\n"
    monkeypatch.setenv("FRAMESPOOL_CONFIG", str(written(tmp_path, text + "[[spool]]\ndir = 'other'\n")))
    with RHEEDStreamer("k", spool_dir="mbe1", spool_retention_s=6.0, worker="external") as streamer:
        assert streamer.spool_status().spool_dir == str(tmp_path / "mbe1")
        assert streamer._endpoint == "http://127.0.0.1:9"
        assert (streamer._limits.min_free_bytes, streamer._limits.retention_s) == (0, 6.0)


@pytest.mark.parametrize("name", ["api_key", "API-KEY", "api_key_2", "key", "token", "password"])
@pytest.mark.parametrize("text", ["{} = 'sk-4711'", "[[spool]]\ndir = 'a'\n{} = 'sk-4711'"])
def test_a_key_in_the_file_is_refused_with_the_reason_and_never_shown(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(ConfigurationError, match="does not belong in a file") as caught:
        read_settings_file(written(tmp_path, text.format(name)))
    assert "sk-4711" not in f"{caught.value} {caught.value.hint}"
    assert "AS_API_KEY" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("retention = 5", "retention is no setting", "Did you mean retention_s?"),
        ("Max-Bytes = 5", "Max-Bytes is no setting", "Did you mean max_bytes?"),
        ("[[spool]]\ndir = 'a'\nend_point = 'x'", "end_point in [[spool]] number 1 is no", "endpoint"),
        ("[[spool]]\ndir = 'a'\n[[spool]]\nname = 'b'", "dir is missing in [[spool]] number 2", ""),
        ("[[spool]]\ndir = 'a'\nverbosity = 3", "verbosity cannot be set in [[spool]] number 1", "above"),
        ("[spool]\ndir = 'a'", "spool is not a list of tables", "[[spool]]"),
        ("[[spool]]\ndir = 'x/a'\n[[spool]]\ndir = 'y/a'", "two [[spool]] have the name a", "name"),
        ("[[spool]]\ndir = 'a'\n[[spool]]\ndir = 'a'\nname = 'b'", "two [[spool]] have the dir", ""),
        ("spool_dir = 'a'\n[[spool]]\ndir = 'b'", "cannot both be there", "[[spool]]"),
        ("[[spool]]\ndir = 'a'\nname = '../x'", "name is '../x' in [[spool]] number 1", ""),
        ("max_bytes = -1", "max_bytes is -1, not a whole number of at least 0", ""),
        ("max_bytes = true", "max_bytes is True", ""),
        ("max_bytes = 1.5", "max_bytes is 1.5", ""),
        ("max_bytes = '5 GB'", "max_bytes is '5 GB'", ""),
        ("retention_s = nan", "retention_s is nan", ""),
        ("retention_s = 'ever'", "retention_s is 'ever', not a number of seconds or 'never'", ""),
        ("verbosity = 5", "verbosity is 5, not a whole number from 0 to 4", ""),
        ("log_bytes_max = 5", "log_bytes_max is 5", ""),
        ("endpoint = 'ftp://x'", "endpoint is 'ftp://x', not an http or https URL", ""),
        ("endpoint = 'http://me:word@x'", "endpoint must not carry credentials", ""),
        ("spool_dir = ''", "spool_dir is '', not a path", ""),
        ("a = \nb = 1", "(at line 1, column 5)", ""),
        ("dir = 'a'\nspool_dir = \"D:\\Users\\x\"", "(at line 2", "single quotes"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_file_and_the_place(
    tmp_path: Path, text: str, says: str, hint: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        read_settings_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert hint in caught.value.hint
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x = 1\n" * 300_000], ids=["UTF-16", "huge"])
def test_what_is_no_configuration_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"config\.toml: it is"):
        read_settings_file(path)


def test_a_file_saved_by_notepad_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbfverbosity = 1\r\n")
    assert read_settings_file(path).values == {"verbosity": 1}


def test_a_file_that_is_named_must_be_there_and_the_usual_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        config.settings_file(None, {"FRAMESPOOL_CONFIG": str(tmp_path / "none.toml")})
    monkeypatch.setattr(config, "default_settings_path", lambda: tmp_path / "config.toml")
    assert config.settings_file(None, {}).path is None
    written(tmp_path, "verbosity = 0")
    assert resolve("verbosity", config.sources({}, {})).origin == f"file {tmp_path / 'config.toml'}"


def test_a_variable_that_is_not_usable_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"max_bytes is 'x'.*\(environment FRAMESPOOL_MAX_BYTES\)"):
        config.spool({}, {"FRAMESPOOL_CONFIG": os.devnull, "FRAMESPOOL_MAX_BYTES": "x"})
