"""cluster.toml and node.toml: what is read, and what every mistake is answered with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.membership.health import HELD
from quorum.membership.observation import Limits as ParticipationLimits
from quorum.model import Configuration, Seat
from quorum.protocols.raft.settings import Settings
from quorum.runtime.config import (
    Address,
    find_config,
    load_node,
    parse_address,
    parse_cluster,
    parse_duration,
)


def member(node: str, port: int, extra: str = "") -> str:
    return f'[[members]]\nid = "{node}"\nlisten = "127.0.0.1:{port}"\n{extra}\n'


MEMBERS = "".join(member(node, 7001 + number) for number, node in enumerate(("n1", "n2", "n3")))
HEAD = 'cluster_id = "c1"\n'
NODE = 'cluster = "../cluster.toml"\nnode = "n1"\n'


def refused(text: str, match: str) -> str:
    with pytest.raises(ConfigurationError, match=match) as caught:
        parse_cluster(text)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with cluster.toml and n1/node.toml."""
    (tmp_path / "cluster.toml").write_text(HEAD + MEMBERS)
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "node.toml").write_text(NODE)
    return tmp_path


# --- what a cluster file gives -------------------------------------------------------------------------


def test_a_short_file_gets_every_default() -> None:
    cluster = parse_cluster(HEAD + MEMBERS)
    assert (cluster.model, cluster.engine, cluster.policy, cluster.faults) == ("crash", "raft", "fixed", None)
    assert cluster.configuration() == Configuration(epoch=1, voters=("n1", "n2", "n3"), faults=1)
    assert cluster.member("n2").advertise == cluster.member("n2").listen == ("127.0.0.1", 7002)
    assert cluster.peers("n2") == {"n1": Address("127.0.0.1", 7001), "n3": Address("127.0.0.1", 7003)}
    assert cluster.raft_settings() == Settings()
    assert cluster.is_loopback


def test_every_key_is_read() -> None:
    text = """
        cluster_id = "prod-1"
        model = "crash"
        engine = "raft"
        policy = "adaptive"
        participation = { floor = 4, hold = "3s", stable = "1m", suspect_phi = 9.5, lag_entries = 7, late = 0.25 }
        faults = 1
        reads = "majority(a, b, c)"
        writes = "majority(a, b, c)"
        timing = { heartbeat = "50ms", election_timeout = "1.5s" }
        limits = { snapshot_entries = 1, snapshot_bytes = 2, log_kept_entries = 0, uncommitted_bytes = 4 }
        [[members]]
        id = "c"
        listen = "[::1]:7003"
        advertise = "db-3.example:7003"
        zone = "eu-1"
        weight = 3
        role = "voter"
        [[members]]
        id = "a"
        listen = "0.0.0.0:7003"
        advertise = "db-1.example:7003"
        [[members]]
        id = "b"
        listen = "0.0.0.0:7003"
        advertise = "10.0.0.2:7003"
    """
    cluster = parse_cluster(text)
    assert cluster.configuration() == Configuration(
        epoch=1,
        voters=("a", "b", "c"),
        reads="majority(a, b, c)",
        writes="majority(a, b, c)",
        weights=(("c", 3),),
        policy="adaptive",
        floor=4,
        faults=1,
    )
    assert cluster.participation.limits() == ParticipationLimits(
        suspect_phi=9.5,
        lag_entries_max=7,
        missed_max=0.25,
        hold_us=3_000_000,
        stable_us=60_000_000,
        stable_max_us=3_600_000_000,
        forgive_us=3_600_000_000,
    )
    assert cluster.member("c").zone == "eu-1"
    assert str(cluster.member("c").listen) == "[::1]:7003"
    assert cluster.peers("a") == {"b": ("10.0.0.2", 7003), "c": ("db-3.example", 7003)}
    assert cluster.raft_settings() == Settings(
        heartbeat_us=50_000,
        election_timeout_us=1_500_000,
        snapshot_entries=1,
        snapshot_bytes=2,
        log_kept_entries=0,
        uncommitted_bytes_max=4,
    )
    assert not cluster.is_loopback


def test_the_order_of_members_does_not_change_the_configuration() -> None:
    one = HEAD + member("a", 1, "weight = 2") + member("b", 2, "weight = 3") + member("c", 3)
    other = HEAD + member("c", 3) + member("b", 2, "weight = 3") + member("a", 1, "weight = 2")
    assert parse_cluster(one).configuration() == parse_cluster(other).configuration()


def test_a_stranger_is_no_member() -> None:
    cluster = parse_cluster(HEAD + MEMBERS)
    with pytest.raises(ConfigurationError, match=r"no such member.*n1, n2, n3"):
        cluster.member("x9")
    with pytest.raises(ConfigurationError, match="did you mean n1"):
        cluster.peers("n11")


# --- mistakes in a cluster file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('cluster_idd = "c"', "cluster_id"),
        ("fault = 1", "faults"),
        ('timing = { heart_beat = "1s" }', "heartbeat"),
        ('timing = { heartbeat_us = "1s" }', "heartbeat"),
        ("limits = { snapshot_entry = 1 }", "snapshot_entries"),
        (member("n9", 9, "wieght = 2"), "weight"),
        ("[member]", "members"),
    ],
)
def test_an_unknown_key_is_answered_with_the_key_that_was_meant(text: str, meant: str) -> None:
    refused(HEAD + text + "\n" + MEMBERS, rf"there is none of that name \(did you mean {meant}\?\)")


def test_an_unknown_key_that_is_near_nothing_lists_the_keys() -> None:
    said = refused(HEAD + '"\\n\\u001b[31m" = 1\n' + MEMBERS, "The keys here are cluster_id, members, model")
    assert "\x1b" not in said and "\n" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults = true", "faults was given.*Expected `int`, got `bool`"),
        ("faults = 1.0", "faults was given"),
        ("faults = -1", "faults was given.*>= 0"),
        (f"faults = 0x{'f' * 5000}", "faults was given"),
        ("reads = 5", "reads was given.*Expected text"),
        ("timing = 5", "timing was given.*a table"),
        ("limits = []", "limits was given.*a table"),
        ("limits = { snapshot_entries = 0 }", r"limits\.snapshot_entries was given.*>= 1"),
        ('limits = { snapshot_bytes = "1" }', r"limits\.snapshot_bytes was given.*`int`, got text"),
        ("limits = { uncommitted_bytes = 9_999_999_999_999_999_999 }", r"limits\.uncommitted_bytes was given"),
        ("members = 5", "members was given.*an array"),
        ("members = [5]", r"members\[0\] was given.*a table"),
        ("members = [{}]", r"members\[0\] was read.*lacks the key `id`"),
        ('members = [{ listen = "a:1" }]', r"members\[0\] was read.*lacks the key `id`"),
        ('members = [{ id = 5, listen = "a:1" }]', r"members\[0\]\.id was given"),
        ('members = [{ id = "a", listen = ["a", 1] }]', r"members\[0\]\.listen"),
        ('members = [{ id = "a", listen = "a:1", weight = 0 }]', r"members\[0\]\.weight was given"),
        ('members = [{ id = "a", listen = "a:1", zone = 1979-05-27 }]', r"members\[0\]\.zone was given"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key(text: str, said: str) -> None:
    rest = "" if text.startswith("members") else MEMBERS
    refused(HEAD + text + "\n" + rest, said)


def test_a_missing_key_is_named() -> None:
    refused(MEMBERS, "lacks the key `cluster_id`. Add a line")
    refused(HEAD, "lacks the key `members`")
    refused(HEAD + "members = []", "without members")


@pytest.mark.parametrize("bad", ["../../etc", "a/b", "a\\u0000b", "", "n" * 300, "N1", "n\u0456", ".", "a b"])
def test_a_bad_node_id_is_refused(bad: str) -> None:
    refused(HEAD + member(bad, 7001), "node id")


@pytest.mark.parametrize("bad", ["", "a b", "../x", "c" * 64, "\\u0000", "\u0441"])
def test_a_bad_cluster_id_or_zone_is_refused(bad: str) -> None:
    refused(f'cluster_id = "{bad}"\n' + MEMBERS, "cluster_id")
    if bad:
        refused(HEAD + member("n1", 1, f'zone = "{bad}"'), "zone")


def test_two_members_of_one_id_are_refused() -> None:
    refused(HEAD + MEMBERS + member("n2", 7009), "n2 was given to more than one member")


@pytest.mark.parametrize(
    "second",
    [
        'listen = "127.0.0.1:7001"',
        'listen = "localhost:7001"',
        'listen = "127.0.0.1:7002"\nadvertise = "127.0.0.1:7001"',
        'listen = "0.0.0.0:7001"\nadvertise = "LOCALHOST:7001"',
    ],
)
def test_two_members_at_one_address_are_refused(second: str) -> None:
    refused(HEAD + member("n1", 7001) + f'[[members]]\nid = "n2"\n{second}', "was given to n2, but n1 has it")


def test_ipv6_addresses_are_compared_by_value() -> None:
    first = '[[members]]\nid = "a"\nlisten = "[::1]:7001"\n'
    refused(HEAD + first + '[[members]]\nid = "b"\nlisten = "[0:0:0::1]:7001"', "a has it already")


def test_an_address_that_cannot_be_dialled_is_not_advertised() -> None:
    for wildcard in ("0.0.0.0:7001", "[::]:7001"):
        refused(HEAD + f'[[members]]\nid = "a"\nlisten = "{wildcard}"', "nobody can dial that")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", "cash", "did you mean crash"),
        ("engine", "raftt", "did you mean raft"),
        ("engine", "pbft", "for members that may lie"),
        ("policy", "adaptiv", "did you mean adaptive"),
    ],
)
def test_a_choice_that_this_release_does_not_have_is_refused(key: str, value: str, said: str) -> None:
    refused(HEAD + f'{key} = "{value}"\n' + MEMBERS, said)


def test_learners_and_witnesses_have_their_place_in_the_first_configuration() -> None:
    text = HEAD + MEMBERS + member("n4", 7004, 'role = "learner"') + member("n5", 7005, 'role = "witness"')
    configuration = parse_cluster(text).configuration()
    assert configuration.voters == ("n1", "n2", "n3")
    assert (configuration.learners, configuration.witnesses) == (("n4",), ("n5",))


def test_an_unknown_role_is_refused() -> None:
    refused(HEAD + member("n1", 1, 'role = "votr"'), "did you mean voter")


def test_more_faults_than_the_nodes_can_bear_are_refused() -> None:
    refused(
        HEAD + "faults = 2\n" + MEMBERS, "N=3 nodes were asked to tolerate T=2 crashed, but 2T.1 = 5 are needed"
    )


def test_a_heartbeat_as_slow_as_the_election_timeout_is_refused() -> None:
    refused(HEAD + 'timing = { heartbeat = "500ms" }\n' + MEMBERS, "1000ms.*heartbeat of 500ms")


def test_broken_toml_is_answered_with_its_line() -> None:
    refused(HEAD + "reads = \n", "line 2")
    refused("a = " + "[" * 100_000, "nested too deeply")
    refused("a = " + "9" * 5_000, "cannot be read")
    refused('a = 1\n"a" = 2', "cannot be read")


# --- quorums -------------------------------------------------------------------------------------------


def test_quorums_that_do_not_meet_are_refused_with_both_named() -> None:
    said = refused(HEAD + 'reads = "n1 + n2"\n' + MEMBERS, "election quorum")
    assert "n1" in said and "n2" in said
    refused(HEAD + 'reads = "n1 * n2"\nwrites = "n3"\n' + MEMBERS, "share no node")


def test_an_expression_over_strangers_or_none_at_all_is_refused() -> None:
    refused(HEAD + 'reads = "n1 * n7"\n' + MEMBERS, "n7")
    refused(HEAD + 'reads = "n1 *"\n' + MEMBERS, "n1")
    refused(HEAD + 'reads = "n1 \\u0007"\n' + MEMBERS, "unprintable")
    refused(HEAD + f'reads = "{"n1 + " * 20_000}n1"\n' + MEMBERS, "longer than")


def test_an_expression_may_take_several_lines() -> None:
    cluster = parse_cluster(HEAD + 'reads = """\n  n1 * n2 +\n  n2 * n3 + n1 * n3\n"""\n' + MEMBERS)
    assert "n2 * n3" in cluster.configuration().reads


def test_faults_that_weights_or_quorums_cannot_bear_are_refused_with_the_nodes() -> None:
    heavy = HEAD + "faults = 1\n" + member("n1", 1, "weight = 5") + member("n2", 2) + member("n3", 3)
    refused(heavy, "without n1 the rest cannot elect a leader. Lower faults")
    needed = HEAD + 'faults = 1\nreads = "n1*n2 + n1*n3"\nwrites = "n1"\n' + MEMBERS
    refused(needed, "without n1 the rest cannot elect")
    slow = HEAD + 'faults = 1\nreads = "choose(2, n1, n2, n3)"\nwrites = "n1*n2*n3"\n' + MEMBERS
    refused(slow, "the rest cannot commit")


def test_faults_that_the_quorums_bear_are_accepted() -> None:
    five = "".join(member(f"n{number}", number) for number in range(1, 6))
    text = HEAD + 'faults = 2\nreads = "choose(3, n1, n2, n3, n4, n5)"\n' + five
    assert parse_cluster(text).faults == 2
    assert (
        parse_cluster(HEAD + "faults = 1\n" + five.replace("[[members]]", "[[members]]\nweight = 2")).faults == 1
    )


# --- durations and addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "us"),
    [("150ms", 150_000), ("2s", 2_000_000), ("1.5s", 1_500_000), ("1m", 60_000_000), ("7us", 7), ("0.001ms", 1)],
)
def test_a_duration_becomes_microseconds(text: str, us: int) -> None:
    assert parse_duration(text) == us


@given(st.integers(1, 24 * 3600 * 1_000_000))
def test_every_duration_written_in_seconds_is_read_exactly(us: int) -> None:
    assert parse_duration(f"{us // 1_000_000}.{us % 1_000_000:06}s") == us
    assert Fraction(us, 1_000_000) * 1_000_000 == parse_duration(f"{us}us")


NO_DURATIONS = [
    "",
    "5",
    "0ms",
    "-1s",
    "1.5us",
    "90000s",
    "1d",
    "1 000ms",
    "\u0661s",
    "1e3s",
    "1s ",
    100,
    1.5,
    None,
]


@pytest.mark.parametrize("bad", NO_DURATIONS)
def test_a_bad_duration_is_refused_with_an_example(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r'timing\.heartbeat = .*Write "150ms"'):
        parse_duration(bad, "timing.heartbeat")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[fe80::1]:65535", "fe80::1", 65535),
        ("db-1.example:7001", "db-1.example", 7001),
    ],
)
def test_an_address_is_read_and_written_back(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert str(parse_address(text)) == text


NO_ADDRESSES = [
    *[
        "a",
        "a:",
        "a:b",
        "a:-1",
        "a:+1",
        "::1:5",
        "[a]:1",
        "[127.0.0.1]:1",
        "1.2.3.4.5:1",
        "300.1.1.1:1",
        "a_b:1",
        "-a:1",
        "a..b:1",
    ]
]
NO_ADDRESSES += ["", ":1", "a: 1", "a/b:1", "a\0:1", "\u0430:1", "a:\u0661", "a:100000", "fe80::1%eth0:1"]


@pytest.mark.parametrize("bad", [*NO_ADDRESSES, 5, None, ["a", 1]])
def test_a_bad_address_is_refused_with_an_example(bad: object) -> None:
    with pytest.raises(ConfigurationError, match=r'members\[0\]\.listen = .*"\[::1\]:7001"'):
        parse_address(bad, "members[0].listen")


@pytest.mark.parametrize("port", [0, 65_536, 99_999])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="ports run from 1 to 65535"):
        parse_address(f"127.0.0.1:{port}")


def test_only_this_machine_is_loopback() -> None:
    for text in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "LocalHost:1"):
        assert parse_address(text).is_loopback
    for text in ("127.example:1", "10.0.0.1:1", "0.0.0.0:1", "[::]:1", "localhost.example:1"):
        assert not parse_address(text).is_loopback


# --- node files ----------------------------------------------------------------------------------------


def test_a_node_file_is_read_with_paths_from_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    node = load_node("n1/node.toml")
    assert (node.node, node.log_level, node.insecure, node.allow_faults) == ("n1", "info", False, False)
    assert not node.awake
    assert node.cluster == folder.resolve() / "cluster.toml"
    assert node.data == folder.resolve() / "n1" / "data"
    assert node.keys == folder.resolve() / "n1" / "keys"


def test_absolute_paths_and_every_key_of_a_node_file_are_read(folder: Path) -> None:
    path = folder / "n1" / "node.toml"
    more = 'data = "/var/lib/q"\nkeys = "../k"\nlog_level = "debug"\n'
    more += "insecure = true\nallow_faults = true\nawake = true\n"
    path.write_text(NODE + more)
    node = load_node(path)
    assert (node.data, node.keys) == (Path("/var/lib/q"), folder.resolve() / "k")
    assert (node.log_level, node.insecure, node.allow_faults, node.awake) == ("debug", True, True, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NODE + "insecur = true", "did you mean insecure"),
        (NODE + 'insecure = "yes"', "insecure was given"),
        (NODE + 'log_level = "warn"', "did you mean warning"),
        (NODE + 'data = ""', "data = '' was given, but it is no path"),
        (NODE + 'keys = "a\\u0000b"', "keys .* no path"),
        ('cluster = "../cluster.toml"', "lacks the key `node`"),
        ('node = "n1"', "lacks the key `cluster`"),
        ('cluster = "../cluster.toml"\nnode = "n9"', "no such member"),
        ('cluster = "../cluster.toml"\nnode = "../n1"', "node id"),
        ("cluster = \n", "line 1"),
    ],
)
def test_a_mistake_in_a_node_file_names_the_file(folder: Path, text: str, said: str) -> None:
    path = folder / "n1" / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_node(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_mistake_in_the_cluster_file_names_that_file(folder: Path) -> None:
    (folder / "cluster.toml").write_text(HEAD)
    with pytest.raises(ConfigurationError, match=r"cluster\.toml: "):
        load_node(folder / "n1" / "node.toml")
    (folder / "cluster.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"cluster\.toml was to be read.*quorum init"):
        load_node(folder / "n1" / "node.toml")


@pytest.mark.parametrize("where", ['listen = "10.0.0.1:1"', 'listen = "127.0.0.1:1"\nadvertise = "db.example:1"'])
def test_insecure_is_refused_beyond_loopback(folder: Path, where: str) -> None:
    (folder / "cluster.toml").write_text(HEAD + MEMBERS + f'[[members]]\nid = "far"\n{where}')
    load_node(folder / "n1" / "node.toml")
    (folder / "n1" / "node.toml").write_text(NODE + "insecure = true")
    with pytest.raises(ConfigurationError, match=r"far at .* can be reached.*Remove `insecure`"):
        load_node(folder / "n1" / "node.toml")


# --- finding the cluster -------------------------------------------------------------------------------


def test_the_config_option_wins_over_the_variable_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".quorum").mkdir()
    for name in (".quorum/cluster.toml", "one.toml", "two.toml"):
        (tmp_path / name).write_text(HEAD)
    assert find_config("one.toml", {"QUORUM_CONFIG": "two.toml"}) == Path("one.toml")
    assert find_config(None, {"QUORUM_CONFIG": "two.toml"}) == Path("two.toml")
    assert find_config(None, {"QUORUM_CONFIG": ""}) == Path(".quorum/cluster.toml")
    assert find_config(None, {}) == Path(".quorum/cluster.toml")


def test_a_cluster_that_is_not_there_is_refused_by_whoever_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for explicit, environ, said in (
        ("x.toml", {}, "named by --config.*No such file"),
        ("a\0b", {}, "named by --config.*null"),
        (None, {"QUORUM_CONFIG": "x.toml"}, "named by QUORUM_CONFIG"),
        (None, {}, "quorum up"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            find_config(explicit, environ)


def test_a_key_of_the_whole_file_in_a_section_is_said_to_stand_in_the_wrong_place() -> None:
    for text in (HEAD + MEMBERS + 'ledger = "bank:Bank"\n', HEAD + '[timing]\nledger = "bank:Bank"\n' + MEMBERS):
        with pytest.raises(ConfigurationError, match=r"a key of the whole file.* Move it above the first"):
            parse_cluster(text)


def test_a_hold_time_that_ends_before_a_change_of_leaders_is_refused() -> None:
    refused(HEAD + 'policy = "adaptive"\n[participation]\nhold = "500ms"\n' + MEMBERS, "change of leaders")


def test_a_learner_in_the_file_is_kept_out_of_the_vote() -> None:
    """As one that was admitted as a learner: no policy gives it a vote."""
    cluster = parse_cluster(HEAD + member("a", 1) + member("b", 2) + member("c", 3, 'role = "learner"'))
    assert cluster.configuration().seats == (Seat("c", HELD),)
