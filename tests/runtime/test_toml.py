"""Files and texts that are no configuration: each is answered with a ConfigurationError, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.runtime.config import ClusterConfig, load_cluster, load_node, parse_cluster
from quorum.runtime.toml import FILE_BYTES_MAX, quoted, shown
from quorum.runtime.toml import parse as parse_toml

HEAD = 'cluster_id = "c1"\n'
MEMBERS = "".join(f'[[members]]\nid = "n{n}"\nlisten = "127.0.0.1:{n}"\n' for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"#" * (FILE_BYTES_MAX + 1), "larger than"),
        (b"a = 1\n\xff\xfe", "byte 6 is not UTF-8. Save it as UTF-8"),
        (b"a = 1\0", "byte 5 is NUL"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "cluster.toml").write_bytes(data)
    for load in (load_cluster, load_node):
        with pytest.raises(ConfigurationError, match=said):
            load(tmp_path / "cluster.toml")


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_bytes(b"\xef\xbb\xbf" + (HEAD + MEMBERS).replace("\n", "\r\n").encode())
    assert load_cluster(tmp_path / "cluster.toml") == parse_cluster(HEAD + MEMBERS)


def test_a_path_that_leads_to_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, said in (
        (tmp_path / "none", "No such file.*quorum init"),
        (tmp_path, "is a folder. Name the file, such as .*cluster.toml"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path / "loop", "failed"),
        (Path("a\0b"), "null"),
        (tmp_path / ("n" * 300), "too long"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            load_cluster(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "cluster.toml").write_text(HEAD + MEMBERS)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ConfigurationError, match=r"Permission denied.*Check the path and its permissions"):
        load_cluster(tmp_path / "cluster.toml")


KEYS = st.sampled_from(
    [
        "cluster_id",
        "members",
        "model",
        "reads",
        "writes",
        "faults",
        "timing",
        "limits",
        "id",
        "listen",
        "advertise",
        "zone",
        "weight",
        "role",
        "heartbeat",
        "election_timeout",
        "snapshot_entries",
        "surprise",
    ]
)
SCALARS = st.one_of(
    st.integers(),
    st.booleans(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["n1", "a:1", "1s", "crash", "n1+"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=12
)


def as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case list():
            return f"[{', '.join(map(as_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{key} = {as_toml(inner)}' for key, inner in value.items())}}}"
        case _:
            return str(value)


def refused_or_sound(text: str) -> None:
    try:
        cluster = parse_cluster(text)
    except ConfigurationError:
        return
    assert isinstance(cluster, ClusterConfig) and cluster.configuration().voters


@given(st.text())
@example("\ufeff")
@example("a=[" * 2000)
@example("[" * 5000)
def test_no_text_raises_anything_but_a_configuration_error(text: str) -> None:
    refused_or_sound(text)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_no_well_formed_toml_raises_anything_but_a_configuration_error(values: dict[str, object]) -> None:
    refused_or_sound("\n".join(f"{key} = {as_toml(value)}" for key, value in values.items()))


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_nor_does_a_sound_file_with_something_added(values: dict[str, object]) -> None:
    extra = {key: value for key, value in values.items() if key not in ("cluster_id", "members")}
    refused_or_sound(
        HEAD + "\n".join(f"{key} = {as_toml(value)}" for key, value in extra.items()) + "\n" + MEMBERS
    )


@given(st.binary())
def test_no_bytes_raise_anything_but_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.toml"
    path.write_bytes(data)
    for load in (load_cluster, load_node):
        with pytest.raises(ConfigurationError):
            load(path)


@given(st.text())
def test_quoted_text_is_read_back_as_it_was(text: str) -> None:
    assert parse_toml(f"a = {quoted(text)}") == {"a": text}


def test_text_with_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="half a character"):
        quoted("\ud800")


def test_a_value_is_shown_short_and_on_one_line() -> None:
    for value in ("x" * 1000, 10**5000, "\x1b[31m\n", float("nan"), None):
        assert len(shown(value)) <= 60 and shown(value).isprintable()


def test_a_value_that_is_none_of_a_few_is_answered_with_those_few() -> None:
    with pytest.raises(
        ConfigurationError, match=r"participation\.weights was given, .*Write one of 'fixed', 'network'"
    ):
        parse_cluster(HEAD + '[participation]\nweights = "netwrk"\n' + MEMBERS)


def test_a_value_of_a_wrong_type_is_answered_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"members\[0\].id was given, .* Correct its value"):
        parse_cluster(HEAD + '[[members]]\nid = 7\nlisten = "127.0.0.1:1"\n')
