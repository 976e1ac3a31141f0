import errno
import hashlib
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import platformdirs
import pytest

from allconv.data.cifar import download, find
from allconv.data.cifar.download import download_cifar10, fetch
from allconv.data.cifar.find import data_folder

CONTENTS = np.random.default_rng(0).bytes(400_000)
SIZE = len(CONTENTS)
SHA256 = hashlib.sha256(CONTENTS).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `contents`, with the faults that the server's attributes ask for."""

    def do_GET(self):
        server = self.server
        asked = self.headers["Range"]
        server.ranges.append(asked)
        if server.errors:
            self.send_error(server.errors.pop(0))
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.honours_range else 0
        if asked and server.refuses_range:
            self.send_error(416)
            return
        total = len(server.contents)
        if start:
            self.send_response(206)
            self.send_header("Content-Range", server.content_range or f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if server.declares_length:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        stop = total if server.cut is None else min(total, start + server.cut)
        self.wfile.write(server.contents[start:stop])
        if server.hangs:
            server.hung.wait(5)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.contents, server.ranges, server.errors = CONTENTS, [], []
    server.honours_range, server.refuses_range, server.declares_length = True, False, True
    server.cut, server.content_range, server.hangs, server.hung = None, None, False, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.hung.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "archive.tar.gz"


@pytest.fixture
def part(target):
    """What a download leaves that is not whole: the first 1,000 bytes, unless a test says otherwise."""
    part = target.with_name("archive.tar.gz.part")
    part.write_bytes(CONTENTS[:1000])
    return part


def get(server, target, **options):
    """Download the file, and check that all of it is there, unless an error is raised."""
    assert fetch(server.url, target, **{"sha256": SHA256, "size": SIZE, "pause": 0.0, **options}) == target
    assert target.read_bytes() == CONTENTS


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        (None, [None]),
        (CONTENTS[:123_456], ["bytes=123456-"]),  # An earlier call was interrupted here.
        (CONTENTS, []),
        (bytes(SIZE + 1), [None]),  # too long: it starts over
    ],
)
def test_downloads_what_is_missing(server, target, part, tmp_path, kept, ranges):
    part.unlink() if kept is None else part.write_bytes(kept)
    for _ in range(2):  # a file that is there is checked, and not downloaded again
        get(server, target)
        assert files(tmp_path) == ["archive.tar.gz"]
        assert server.ranges == ranges


def test_a_file_of_the_user_with_other_contents_is_left_as_it_is(server, target):
    target.write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"archive.tar.gz must have the SHA-256 {SHA256}, got .*; move it away"):
        get(server, target)
    assert target.read_bytes() == b"mine"
    assert server.ranges == []


def test_resumes_by_range_after_each_cut(server, target):
    server.cut = 150_000
    get(server, target)
    assert server.ranges == [None, "bytes=150000-", "bytes=300000-"]


@pytest.mark.parametrize("refuses_range", [False, True])
def test_a_server_without_range_sends_all_again_and_nothing_is_lost_meanwhile(server, target, part, refuses_range):
    server.honours_range, server.refuses_range = False, refuses_range
    part.write_bytes(CONTENTS[:300_000])
    server.cut = 200_000
    with pytest.raises(ConnectionError):
        get(server, target, attempts=2)
    assert part.read_bytes() == CONTENTS[:300_000]
    server.cut = None
    get(server, target)


def test_gives_up_after_some_failures_in_a_row_and_keeps_what_came(server, target, part, tmp_path):
    server.cut = 0
    with pytest.raises(ConnectionError) as caught:
        get(server, target, attempts=3)
    assert str(caught.value) == (
        f"{server.url} must be read to its end, got 1,000 of 400,000 bytes and then 3 failures in a row, the last: "
        f"the connection was closed; {part} is kept, and a new call goes on from there"
    )
    assert server.ranges == ["bytes=1000-"] * 3
    assert files(tmp_path) == [part.name]


def test_a_cut_with_progress_does_not_count_as_a_failure_in_a_row(server, target):
    server.cut = 50_000
    get(server, target, attempts=2)
    assert len(server.ranges) == 8


def test_a_connection_that_hangs_counts_as_broken(server, target, part):
    server.cut, server.hangs = 1000, True
    part.write_bytes(CONTENTS[: SIZE - 1500])
    started = time.monotonic()
    get(server, target, timeout=0.2)
    assert time.monotonic() - started < 5


def test_waits_longer_after_each_failure(monkeypatch, server, target):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.errors = [503, 500, 429, 502]
    get(server, target, pause=1.0, attempts=5)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_an_error_that_stays_is_raised_at_once(server, target, tmp_path, code):
    server.errors = [code] * 9
    with pytest.raises(ConnectionError, match=f"{server.url} must be there to download, got HTTP {code}"):
        get(server, target)
    assert len(server.ranges) == 1
    assert files(tmp_path) == []


def test_no_network(target, tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=r"got 0 of 400,000 bytes and then 2 failures .* the last: .*refused"):
        get(server, target, attempts=2)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"contents": CONTENTS + b"x"}, "must have 400,000 bytes, got 400001"),
        ({"contents": b"<html>Log in</html>", "honours_range": False}, "must have 400,000 bytes, got 19"),
        ({"contents": b"short", "refuses_range": True}, "must have 400,000 bytes, got 5"),
        (
            {"content_range": f"bytes 0-{SIZE - 1}/{SIZE}"},
            "must go on at byte 1,000, got Content-Range 'bytes 0-399999/4",
        ),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_the_part_kept(server, target, part, answer, message):
    vars(server).update(answer)
    with pytest.raises(ValueError, match=message):
        get(server, target)
    assert part.read_bytes() == CONTENTS[:1000]
    assert len(server.ranges) == 1 + server.refuses_range


@pytest.mark.parametrize("answer", [{"declares_length": False}, {"content_range": f"bytes 1000-{SIZE - 1}/*"}])
def test_a_length_that_is_not_declared_is_no_obstacle(server, target, part, answer):
    vars(server).update(answer)
    get(server, target)


def test_more_bytes_than_declared_are_not_written(server, target, tmp_path):
    server.declares_length = False
    server.contents = CONTENTS + b"x" * 100_000
    with pytest.raises(ValueError, match="must have 400,000 bytes, got more"):
        get(server, target)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= SIZE


def test_a_wrong_hash_removes_only_the_file_that_was_downloaded(server, target, tmp_path):
    (tmp_path / "mine").write_bytes(b"kept")
    (tmp_path / "other.part").write_bytes(b"kept")
    server.contents = bytes(SIZE)
    digest = hashlib.sha256(bytes(SIZE)).hexdigest()
    with pytest.raises(ValueError, match=f"{server.url} must have the SHA-256 {SHA256}, got {digest}; .* was removed"):
        get(server, target)
    assert files(tmp_path) == ["mine", "other.part"]
    server.contents = CONTENTS
    get(server, target)


def test_a_damaged_part_is_noticed_and_the_next_call_starts_over(server, target, part):
    part.write_bytes(b"x" + CONTENTS[1:5000])
    with pytest.raises(ValueError, match="must have the SHA-256"):
        get(server, target)
    get(server, target)


def test_a_full_disk_is_noticed_before_the_download(monkeypatch, server, target, part):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5000))
    with pytest.raises(OSError, match="must have 399,000 bytes of free disk, got 5,000") as caught:
        get(server, target)
    assert caught.value.errno == errno.ENOSPC
    assert server.ranges == []
    assert part.read_bytes() == CONTENTS[:1000]


def test_a_disk_that_fills_up_keeps_what_was_written(server, target, part):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"gz.part must be written, got File too large; .* kept") as caught:
            get(server, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert part.read_bytes() == CONTENTS[:250_000]
    get(server, target)
    assert server.ranges == ["bytes=1000-", "bytes=250000-"]


def test_an_interrupt_keeps_what_was_read(monkeypatch, server, target, part):
    read = download._read
    chunks = iter([read, read])

    def interrupted(response):
        for chunk in chunks:
            return chunk(response)
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(server, target)
    monkeypatch.setattr(download, "_read", read)
    assert 0 < part.stat().st_size < SIZE
    get(server, target)


def test_a_redirection_away_from_https_is_refused(monkeypatch, server, target, tmp_path):
    urlopen = download.urllib.request.urlopen
    monkeypatch.setattr(
        download.urllib.request, "urlopen", lambda request, timeout: urlopen(server.url, timeout=timeout)
    )
    with pytest.raises(
        ValueError, match=r"https://example\.org/x must be served by https, got a redirection to http://"
    ):
        fetch("https://example.org/x", target, sha256=SHA256, size=SIZE)
    assert files(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "/etc/passwd", ""])
def test_other_schemes_are_refused(target, url):
    with pytest.raises(ValueError, match="url must start with https:// or http://, got"):
        fetch(url, target, sha256=SHA256, size=SIZE)


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """Let `fetch` only note what it is asked for, and the cache lie in an empty folder."""
    monkeypatch.delenv("ALLCONV_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    calls = []

    def note(url, target, **options):
        calls.append((url, target, options))
        return target

    monkeypatch.setattr(download, "fetch", note)
    return calls


def test_downloads_the_official_archive_into_the_cache_or_the_chosen_folder(monkeypatch, fetched, tmp_path):
    path = download_cifar10()
    assert path == tmp_path / "cache" / "allconv" / "cifar-10-binary.tar.gz"
    assert path.parent.is_dir()
    [(url, target, options)] = fetched
    assert (url, target) == ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", path)
    assert options["size"] == 170_052_171
    assert len(bytes.fromhex(options["sha256"])) == 32
    assert download_cifar10(tmp_path / "given" / "deep").parent == tmp_path / "given" / "deep"
    monkeypatch.setenv("ALLCONV_DATA", str(tmp_path / "chosen"))
    path = download_cifar10()
    assert path.parent == data_folder() == tmp_path / "chosen"
    path.write_bytes(b"x")
    assert find.find_cifar10() == path


def test_a_folder_that_is_none_is_refused(fetched, target):
    with pytest.raises(TypeError, match="folder must be a path, got 3"):
        download_cifar10(3)
    target.write_bytes(b"mine")
    with pytest.raises(OSError, match=r"archive\.tar\.gz"):
        download_cifar10(target)
    assert target.read_bytes() == b"mine"
    assert fetched == []
