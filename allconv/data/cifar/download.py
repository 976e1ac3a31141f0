"""The download of the official CIFAR-10 archive, which goes on where a broken connection left it.

The server of the University of Toronto sends 170 MB at about 80 kB/s (2026). What has come stays in a ``.part`` file,
from which the next request, or the next call, goes on; the name without ``.part`` appears when size and SHA-256 are
right, and not before.
"""

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from allconv.checkpoint.atomic import make_folder, sync_folder
from allconv.data.cifar.find import DOWNLOADED, data_folder
from allconv.validation import check_path, describe

# Size and SHA-256 are those that TensorFlow Datasets pins.
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SIZE = 170_052_171
_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"

_CHUNK = 1 << 16
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP errors after which another try may succeed


class _Dropped(Exception):  # noqa: N818
    """The connection broke. What came over it is in the ``.part`` file."""


def download_cifar10(folder: str | os.PathLike[str] | None = None) -> Path:
    """Download the official CIFAR-10 archive, 170 MB, which `data.cifar10` reads without unpacking it.

    Parameters
    ----------
    folder : path, optional
        Made if it is not there. By default ``ALLCONV_DATA``, or else allconv's folder in the platform's cache; both are
        among the places where `data.find_cifar10` looks.

    Returns
    -------
    Path
        The archive. Where it is in the folder already, it is checked and not downloaded again.

    Raises
    ------
    ConnectionError
        If the connection fails again and again. A new call goes on where it broke.
    ValueError
        If the server's file, or a file of that name in the folder, is not the official one.
    OSError
        If the disk is full or the folder cannot be written. What has come is kept.

    Examples
    --------
    >>> train, test = cifar10(download_cifar10())  # doctest: +SKIP
    """
    place = data_folder() if folder is None else check_path("folder", folder).expanduser()
    make_folder(place)
    return fetch(_URL, place / DOWNLOADED, sha256=_SHA256, size=_SIZE)


def fetch(
    url: str, target: Path, *, sha256: str, size: int, attempts: int = 5, timeout: float = 60.0, pause: float = 1.0
) -> Path:
    """Download `url` to `target`, going on from what an earlier call left there.

    Parameters
    ----------
    url : str
        An https URL may not redirect to one that is not.
    target : Path
        If the file exists, it is checked and not downloaded. Its folder must exist.
    sha256 : str
        The checksum that the file must have, in lowercase hexadecimal.
    size : int
        How many bytes it must have.
    attempts : int, default 5
        How many requests in succession may fail without a new byte.
    timeout : float, default 60.0
        Seconds without a byte after which a connection counts as broken.
    pause : float, default 1.0
        Seconds before the second attempt; doubled before each further one.

    Returns
    -------
    Path
        `target`, a file with this checksum.

    Raises
    ------
    ConnectionError, ValueError, OSError
        As `download_cifar10` has it.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"url must start with https:// or http://, got {describe(url)}")
    if target.exists():
        digest = _sha256(target)
        if digest != sha256:
            raise ValueError(f"{target} must have the SHA-256 {sha256}, got {digest}; move it away to download it anew")
        return target
    part = target.with_name(target.name + ".part")
    if _length(part) > size:  # not the beginning of this file
        part.unlink()
    free = shutil.disk_usage(target.parent).free
    if free < size - _length(part):
        raise OSError(errno.ENOSPC, f"{part} must have {size - _length(part):,} bytes of free disk, got {free:,}")
    failures = 0
    with tqdm(total=size, initial=_length(part), desc=target.name, unit="B", unit_scale=True, disable=None) as bar:
        while (have := _length(part)) < size:
            try:
                _receive(url, part, size, timeout, bar)
            except _Dropped as error:
                failures = 1 if _length(part) > have else failures + 1
                if failures >= attempts:
                    raise ConnectionError(
                        f"{url} must be read to its end, got {_length(part):,} of {size:,} bytes and then {attempts} "
                        f"failures in a row, the last: {error}; {part} is kept, and a new call goes on from there"
                    ) from error
                time.sleep(pause * 2 ** (failures - 1))
    digest = _sha256(part)
    if digest != sha256:
        part.unlink()
        raise ValueError(f"{url} must have the SHA-256 {sha256}, got {digest}; {part} was removed")
    part.replace(target)
    sync_folder(target.parent)
    return target


def _receive(url: str, part: Path, size: int, timeout: float, bar: "tqdm[NoReturn]", *, ranged: bool = True) -> None:
    """Append to `part` what one request brings; raise _Dropped if that is not all."""
    have = _length(part)
    headers = {"User-Agent": "allconv", "Accept-Encoding": "identity"}
    if have and ranged:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have and ranged:
            _receive(url, part, size, timeout, bar, ranged=False)
            return
        if error.code in _PASSING:
            raise _Dropped(f"HTTP {error.code} {error.reason}") from error
        raise ConnectionError(f"{url} must be there to download, got HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(str(error) or type(error).__name__) from error
    with response:
        skip = have - _check_headers(url, response, have, size)
        try:
            with part.open("ab") as file:
                while chunk := _read(response):
                    fresh = chunk[skip:]
                    skip -= len(chunk) - len(fresh)
                    have += len(fresh)
                    if have > size:
                        raise ValueError(f"{url} must have {size:,} bytes, got more")
                    file.write(fresh)
                    bar.update(len(fresh))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            kept = f"the {_length(part):,} bytes that are there are kept, and a new call goes on from them"
            raise OSError(error.errno, f"{part} must be written, got {error.strerror}; {kept}") from error
    if have < size:
        raise _Dropped("the connection was closed")


def _check_headers(url: str, response: http.client.HTTPResponse, have: int, size: int) -> int:
    """Return the position at which the body starts: `have`, or 0 where the server ignores Range."""
    if url.startswith("https:") and not response.url.startswith("https:"):
        raise ValueError(f"{url} must be served by https, got a redirection to {response.url}")
    start, total = 0, response.headers.get("Content-Length", str(size))
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        start = have
        content_range = response.headers.get("Content-Range", "")
        if not content_range.startswith(f"bytes {have}-"):
            raise ValueError(f"{url} must go on at byte {have:,}, got Content-Range {content_range!r}")
        total = content_range.rpartition("/")[2].replace("*", str(size))
    if total != str(size):
        raise ValueError(f"{url} must have {size:,} bytes, got {total[:20]}")
    return start


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(str(error) or type(error).__name__) from error


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
