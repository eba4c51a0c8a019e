"""The data folder: whose it is, and who may use it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from quorum.errors import ConfigurationError, StorageCorrupt
from quorum.runtime.files import RealFiles
from quorum.runtime.folder import DataFolder
from quorum.runtime.wal import Wal


def refused(path, match: str, cluster: str = "c1", node: str = "n1", bootstrap: bool = False) -> None:
    with pytest.raises(ConfigurationError, match=match) as caught:
        DataFolder.open(path, cluster, node, bootstrap=bootstrap)
    assert "\n" not in str(caught.value)


def test_a_new_folder_is_its_owners_alone_and_is_known_again(tmp_path):
    path = tmp_path / "deep" / "n1"
    folder = DataFolder.open(path, "c1", "n1", bootstrap=True)
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "identity.json").stat().st_mode & 0o777 == 0o600
    assert not folder.used
    folder.close()
    folder.close()
    DataFolder.open(path, "c1", "n1").close()


def test_the_folder_of_another_node_or_cluster_is_refused(tmp_path):
    """Row 26."""
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    refused(tmp_path / "n1", "belongs to node n1 of cluster c1", node="n2")
    refused(tmp_path / "n1", "belongs to node n1 of cluster c1", cluster="c2")


def test_a_second_process_on_one_folder_is_refused(tmp_path):
    """Row 27: and the lock goes with the process that held it."""
    folder = DataFolder.open(tmp_path / "n1", "c1", "n1")
    refused(tmp_path / "n1", f"process {os.getpid()} is using it")
    program = (
        "import sys\n"
        "from quorum.errors import ConfigurationError\n"
        "from quorum.runtime.folder import DataFolder\n"
        "try:\n"
        "    DataFolder.open(sys.argv[1], 'c1', 'n1')\n"
        "except ConfigurationError:\n"
        "    sys.exit(7)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "n1")]
    assert subprocess.run(command, check=False, timeout=60).returncode == 7
    folder.close()
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()


def test_a_newer_format_is_refused(tmp_path):
    """Row 28: whatever else a newer program wrote into its identity."""
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    (tmp_path / "n1" / "identity.json").write_text('{"format": 2, "shard": [1, 2]}')
    refused(tmp_path / "n1", "data format 2")


def test_a_damaged_identity_is_refused(tmp_path):
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    texts = (b"", b"{", b'{"format": 1}', b'{"format": 1, "cluster": "c1", "node": 3, "used": false}')
    for text in (*texts, b'{"format": 1, "cluster": "c\xff", "node": "n1", "used": true}'):
        (tmp_path / "n1" / "identity.json").write_bytes(text)
        with pytest.raises(StorageCorrupt, match="does not say whose folder"):
            DataFolder.open(tmp_path / "n1", "c1", "n1")


def test_a_symbolic_link_is_refused_wherever_it_stands(tmp_path):
    """Row 29."""
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    (tmp_path / "link").symlink_to(tmp_path / "n1")
    refused(tmp_path / "link", "symbolic link")
    for name in ("wal", "identity.json", "lock"):
        (tmp_path / "n1" / name).rename(tmp_path / name)
        (tmp_path / "n1" / name).symlink_to(tmp_path / name)
        refused(tmp_path / "n1", "symbolic link")
        (tmp_path / "n1" / name).unlink()
        (tmp_path / name).rename(tmp_path / "n1" / name)
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()


def test_a_read_only_folder_is_refused(tmp_path):
    """Row 29."""
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    (tmp_path / "n1").chmod(0o500)
    refused(tmp_path / "n1", "read-only")
    (tmp_path / "n1").chmod(0o700)


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    """Row 29."""
    (tmp_path / "n1").write_text("")
    refused(tmp_path / "n1", "it is a file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path):
    """Row 29."""
    DataFolder.open(tmp_path / "n1", "c1", "n1").close()
    os.chown(tmp_path / "n1", 65534, 65534)
    refused(tmp_path / "n1", "user 65534 owns it")


def test_a_folder_with_other_contents_is_not_taken_over(tmp_path):
    (tmp_path / "n1").mkdir(mode=0o700)
    (tmp_path / "n1" / "thesis.tex").write_text("")
    refused(tmp_path / "n1", "thesis.tex")


def test_an_identity_that_was_not_finished_is_written_again(tmp_path):
    """The machine stopped while the folder was made."""
    (tmp_path / "n1").mkdir(mode=0o700)
    (tmp_path / "n1" / "lock").write_text("")
    (tmp_path / "n1" / "identity.json.new").write_text("{")
    DataFolder.open(tmp_path / "n1", "c1", "n1", bootstrap=True).close()


def test_a_new_cluster_does_not_begin_where_a_node_has_run(tmp_path):
    """Row 10: not where there is a log, and not where there was one."""
    folder = DataFolder.open(tmp_path / "n1", "c1", "n1", bootstrap=True)
    wal = Wal(RealFiles(), folder.wal_path, "c1", "n1", create=not folder.used, segment_bytes=4096)
    wal.recover()
    wal.close()
    folder.close()
    refused(tmp_path / "n1", "already run there", bootstrap=True)
    folder = DataFolder.open(tmp_path / "n1", "c1", "n1")
    folder.mark_used()
    folder.mark_used()
    folder.close()
    for segment in (tmp_path / "n1" / "wal").iterdir():
        segment.unlink()
    refused(tmp_path / "n1", "already run there", bootstrap=True)
    folder = DataFolder.open(tmp_path / "n1", "c1", "n1")
    assert folder.used
    with pytest.raises(StorageCorrupt, match="promises are lost"):
        Wal(RealFiles(), folder.wal_path, "c1", "n1", create=not folder.used, segment_bytes=4096).recover()
    folder.close()
