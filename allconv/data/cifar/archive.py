"""Members of a .tar.gz that nobody vouches for, read by name and never extracted."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_MAX_HEADERS = 1 << 20  # bytes; a handful of members has a few thousand
_MAX_UNPACKED = 1 << 30
_CHUNK = 1 << 16


def read_members(path: Path, sizes: Mapping[str, range]) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of the members that `sizes` names, in the order in which they lie in the archive.

    All others are passed over: no name in the archive becomes a path, and no link is followed. The archive is read to
    its end, for its checksum stands there; so a caller must not act on the contents before the iteration ends.

    Parameters
    ----------
    path : Path
        The archive.
    sizes : mapping of str to range
        The wanted members, such as ``cifar-10-batches-bin/test_batch.bin``, and how many bytes each may have.

    Raises
    ------
    ValueError
        If the archive is cut or damaged, holds a wanted member twice, as anything but a regular file or of another
        size, or unpacks to more than 1 GiB.
    """
    seen = set()
    with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as unpacked:
        stream = _ForwardStream(unpacked)
        with _damage_named(path):
            archive = tarfile.TarFile(fileobj=stream)
        while True:
            with _damage_named(path):
                member = archive.next()
            if member is None:
                break
            name = member.name.removeprefix("./")
            if name not in sizes:
                continue
            if name in seen:
                raise ValueError(f"{path} must hold each of its batches once, got {name} twice")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise ValueError(f"{path} must hold {name} as a regular file, got a tar entry of type {member.type!r}")
            if member.size not in sizes[name]:
                raise ValueError(f"{path}: {name} must have {size_rule(sizes[name])}, got {member.size:,}")
            seen.add(name)
            with _damage_named(path):
                stream.seek(member.offset_data)
                data = stream.take(member.size)
            if len(data) < member.size:
                raise ValueError(f"{path}: {name} must have {member.size:,} bytes, got the end after {len(data):,}")
            yield name, data
        with _damage_named(path):
            stream.seek(_MAX_UNPACKED)


def size_rule(sizes: range) -> str:
    """Say in words how many bytes `sizes` allows."""
    return f"{sizes[0]:,} bytes" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} bytes"


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what tarfile, gzip and zlib raise for a damaged archive into one error that names the archive."""
    try:
        yield
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path} must be an intact .tar.gz archive, got: {str(error)[:200]}") from error


class _ForwardStream(io.RawIOBase):
    """The unpacked bytes as tarfile wants them, with bounds to what a hostile archive may cost.

    tarfile uses `read` for headers only; some kinds it reads whole, at whatever length the archive declares, or in
    an endless chain. Contents are passed over by `seek`, which goes forward only, or read by `take`.
    """

    def __init__(self, unpacked: gzip.GzipFile) -> None:
        self._unpacked = unpacked
        self._position = 0
        self._headers = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        self._headers += size
        if size < 0 or self._headers > _MAX_HEADERS:
            raise ValueError(f"headers of more than {_MAX_HEADERS:,} bytes")
        return self.take(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or position < self._position:
            raise ValueError("a member that starts before the one in front of it ends")
        while self._position < position and self.take(min(_CHUNK, position - self._position)):
            pass
        return self._position

    def take(self, size: int) -> bytes:
        data = self._unpacked.read(size)
        self._position += len(data)
        if self._position >= _MAX_UNPACKED:
            raise ValueError(f"more than {_MAX_UNPACKED:,} bytes when unpacked")
        return data
