from __future__ import annotations

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pooch
import pytest

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.tasks import fetch, find_entry
from metagd_optuna.tasks.download import LoggedProgress

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    requests: list[str]
    over: threading.Event

    def do_GET(self):
        self.requests.append(self.path)
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/stalls":
            self.wfile.write(CONTENT[:1000])
            self.wfile.flush()
            self.over.wait(10)
        elif self.path == "/cut":
            self.wfile.write(CONTENT[:1000])
        elif self.path == "/drips":
            while not self.over.wait(0.02):
                try:
                    self.wfile.write(bytes(1 << 14))
                except OSError:
                    return
        else:
            self.wfile.write(CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    handler = type("FreshHandler", (Handler,), {"requests": [], "over": threading.Event()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        handler.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def entry(server):
    def make(path="/good", md5=MD5):
        return replace(find_entry("breastmnist"), url=f"http://127.0.0.1:{server.server_port}{path}", md5=md5)

    return make


def _seen(server):
    return server.RequestHandlerClass.requests


@pytest.mark.parametrize("path", ["/good", "/unsized"])
def test_a_good_file_is_downloaded_once_and_then_found(server, entry, tmp_path, path):
    cache = tmp_path / "new" / "cache"
    lines = []
    found = fetch(entry(path), cache_dir=cache, log=lines.append)
    assert found == cache / "breastmnist.npz"
    assert found.read_bytes() == CONTENT
    assert fetch(entry(path), cache_dir=cache) == found
    assert _seen(server) == [path]
    assert [item.name for item in cache.iterdir()] == ["breastmnist.npz"]
    assert "downloading breastmnist.npz from http://127.0.0.1" in lines[0]
    assert ("breastmnist.npz: 100% of 0.5 MB" in lines) == (path == "/good")
    assert lines[-1] == f"breastmnist.npz is complete: {found}"
    assert len(lines) <= 12


@pytest.mark.parametrize("by_environment", [False, True])
def test_the_data_folder_comes_first(server, entry, tmp_path, monkeypatch, by_environment):
    mine, cache = tmp_path / "mine", tmp_path / "cache"
    for folder in (mine, cache):
        folder.mkdir()
        (folder / "breastmnist.npz").write_bytes(CONTENT)
    if by_environment:
        monkeypatch.setenv("METAGD_DATA_DIR", str(mine))
    assert fetch(entry(), None if by_environment else mine, cache_dir=cache) == mine / "breastmnist.npz"
    assert _seen(server) == []


def test_an_argument_wins_over_the_environment(entry, tmp_path, monkeypatch):
    monkeypatch.setenv("METAGD_DATA_DIR", str(tmp_path / "absent"))
    (tmp_path / "breastmnist.npz").write_bytes(CONTENT)
    assert fetch(entry(), tmp_path, cache_dir=tmp_path / "cache").parent == tmp_path


def test_what_the_data_folder_lacks_is_downloaded_to_the_cache(entry, tmp_path):
    (tmp_path / "mine").mkdir()
    assert fetch(entry(), tmp_path / "mine", cache_dir=tmp_path / "cache").parent == tmp_path / "cache"


def test_the_cache_is_the_users_own(entry, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch(entry()) == tmp_path / "metagd_optuna" / "breastmnist.npz"


def test_a_data_folder_that_does_not_exist_is_an_error(entry, tmp_path, monkeypatch):
    with pytest.raises(MetaGDError, match=r"--data-dir \(data_dir\) names the folder .*absent, which does not exist"):
        fetch(entry(), tmp_path / "absent", cache_dir=tmp_path)
    monkeypatch.setenv("METAGD_DATA_DIR", str(tmp_path / "gone"))
    with pytest.raises(MetaGDError, match=r"METAGD_DATA_DIR names the folder .*gone"):
        fetch(entry(), cache_dir=tmp_path)


@pytest.mark.parametrize("place", ["data", "cache", "download"])
def test_another_md5_is_refused_wherever_the_file_is(server, entry, tmp_path, place):
    cache = tmp_path / "cache"
    cache.mkdir()
    other = hashlib.md5(b"other").hexdigest()
    if place != "download":
        (cache / "breastmnist.npz").write_bytes(b"other")
    wanted = entry(md5="0" * 32 if place == "download" else MD5)
    with pytest.raises(MetaGDError) as caught:
        fetch(wanted, cache if place == "data" else None, cache_dir=cache)
    text = str(caught.value)
    for fact in (MD5 if place == "download" else other, wanted.md5, wanted.url, str(cache), "breastmnist.npz"):
        assert fact in text
    left = [item.name for item in cache.iterdir()]
    assert left == ([] if place == "download" else ["breastmnist.npz"])


@pytest.mark.parametrize("own_folder", [False, True])
def test_a_wrong_download_names_a_folder_that_is_there(entry, tmp_path, own_folder):
    mine, cache = tmp_path / "mine", tmp_path / "cache"
    mine.mkdir()
    wanted = entry(md5="0" * 32)
    with pytest.raises(MetaGDError) as caught:
        fetch(wanted, mine if own_folder else None, cache_dir=cache)
    text = str(caught.value)
    assert wanted.url in text
    assert f"expected md5:{wanted.md5} but got {MD5}. Deleted download" in text
    assert f"put it in {mine if own_folder else cache} under that name" in text
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/absent", "404"), ("/stalls", "timed out"), ("/cut", "IncompleteRead"), ("/drips", "not finished within 0.4 s")],
)
def test_a_failed_download_names_everything_and_leaves_nothing(entry, tmp_path, path, reason):
    began = time.monotonic()
    with pytest.raises(MetaGDError) as caught:
        fetch(entry(path), cache_dir=tmp_path, timeout=0.3, time_limit=0.4)
    assert time.monotonic() - began < 5
    text = str(caught.value)
    for fact in (reason, "breastmnist.npz", entry(path).url, str(tmp_path), MD5, "METAGD_DATA_DIR", "--data-dir"):
        assert fact in text
    assert list(tmp_path.iterdir()) == []


def test_a_killed_download_leaves_nothing_that_is_taken_for_the_file(server, entry, tmp_path):
    code = (
        "from dataclasses import replace; from metagd_optuna.tasks import fetch, find_entry; entry = "
        f"replace(find_entry('breastmnist'), url={entry('/stalls').url!r}, md5={MD5!r}); fetch(entry, "
        f"cache_dir={str(tmp_path)!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not _seen(server):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert "breastmnist.npz" not in [item.name for item in tmp_path.iterdir()]
    assert fetch(entry(), cache_dir=tmp_path).read_bytes() == CONTENT
    assert _seen(server) == ["/stalls", "/good"]


def test_a_download_prints_nothing_unasked_and_leaves_the_log_as_it_was(entry, tmp_path, capfd):
    level = pooch.get_logger().level
    fetch(entry(), cache_dir=tmp_path)
    assert capfd.readouterr() == ("", "")
    assert pooch.get_logger().level == level


def test_no_network_names_the_data_folder(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        gone = replace(find_entry("breastmnist"), url=f"http://127.0.0.1:{unused.getsockname()[1]}/x", md5=MD5)
        (tmp_path / "mine").mkdir()
        with pytest.raises(MetaGDError, match="Connection refused") as caught:
            fetch(gone, tmp_path / "mine", cache_dir=tmp_path / "cache", timeout=2)
    assert f"put it in {tmp_path / 'mine'} under that name" in str(caught.value)


def test_a_cache_that_cannot_be_made_is_our_error(entry, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetaGDError, match="cannot be downloaded"):
        fetch(entry(), cache_dir=tmp_path / "file")


def test_a_disk_that_runs_full_leaves_nothing_and_the_next_download_works(entry, tmp_path, monkeypatch):
    def full(self, size):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LoggedProgress, "update", full)
        said = rf"^{tmp_path}/breastmnist.npz: cannot be downloaded \(No space left on device: the disk is full\)"
        with pytest.raises(MetaGDError, match=said):
            fetch(entry(), cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(entry(), cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_folder_in_the_files_place_is_our_error(entry, tmp_path):
    (tmp_path / "breastmnist.npz").mkdir()
    with pytest.raises(MetaGDError, match="cannot be read"):
        fetch(entry(), tmp_path, cache_dir=tmp_path / "cache")


def test_a_task_without_a_file_cannot_be_fetched():
    with pytest.raises(MetaGDError, match="comes with scikit-learn"):
        fetch(find_entry("breast_cancer"))


def test_progress_is_logged_once_per_tenth():
    lines = []
    progress = LoggedProgress("x", lines.append, time_limit=60)
    progress.total = 1000
    for _ in range(95):
        progress.update(10)
    progress.reset()
    progress.update(1000)
    progress.close()
    assert lines == [f"x: {tenth}0% of 0.0 MB" for tenth in range(1, 11)]
