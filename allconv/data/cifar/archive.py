"""Members of a .tar.gz that nobody vouches for, read by name and never extracted."""

import gzip
import io
import itertools
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_MAX_MEMBERS = 1000  # the official archives have 9
_MAX_HEADERS = 1 << 17  # bounds what stands before a member's contents, in bytes; most have one header of 512
_MAX_UNPACKED = 1 << 30  # bounds the unpacked archive, in bytes; the official ones have 185 million
_CHUNK = 1 << 14  # bytes read at a time


def read_members(path: Path, sizes: Mapping[str, range]) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of the members that `sizes` names, in the order in which they lie in the archive.

    All others are passed over: no name in the archive becomes a path, and no link is followed. The archive is read
    forward, a member at a time, and to its end, since its checksum stands there. So a caller must not act on the
    contents before the iteration ends.

    Parameters
    ----------
    path : Path
        The archive.
    sizes : mapping of str to range
        The wanted members, such as ``cifar-10-batches-bin/test_batch.bin``, and how many bytes each may have.

    Yields
    ------
    name : str
        The member's name, as `sizes` has it.
    contents : bytes
        The whole member.

    Raises
    ------
    ValueError
        If the archive is cut or damaged, holds a wanted member twice, as anything but a regular file or of another
        size, has more than 1,000 members, or unpacks to more than 1 GiB.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "a.bin").write_bytes(b"pixels")
    ...     with tarfile.open(Path(folder) / "batches.tar.gz", "w:gz") as archive:
    ...         archive.add(Path(folder) / "a.bin", "batches/a.bin")
    ...     dict(read_members(Path(folder) / "batches.tar.gz", {"batches/a.bin": range(6, 7)}))
    6
    {'batches/a.bin': b'pixels'}
    """
    seen = set()
    with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as unpacked:
        stream = _Metered(unpacked)
        with _damage_named(path):
            archive = tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK)  # noqa: SIM115 - it holds no file of its own
        for count in itertools.count():
            with _damage_named(path):
                member = archive.next()
                if member is not None and count == _MAX_MEMBERS:
                    raise ValueError(f"more than {_MAX_MEMBERS:,} members")
            if member is None:
                break
            if member.issparse():  # its size is not the number of bytes that follow, which `allow` must know
                raise ValueError(f"{path} must hold {member.name[:100]} as a regular file, got a sparse one")
            stream.allow(member.size if member.isreg() else 0)
            name = member.name.removeprefix("./")
            if name not in sizes:
                continue
            if name in seen:
                raise ValueError(f"{path} must hold each of its batches once, got {name} twice")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise ValueError(f"{path} must hold {name} as a regular file, got a tar entry of type {member.type!r}")
            if member.size not in sizes[name]:
                raise ValueError(f"{path}: {name} must have {size_rule(sizes[name])}, got {member.size:,}")
            seen.add(name)
            with _damage_named(path):
                file = archive.extractfile(member)
                contents = file.read(member.size) if file is not None else b""
            yield name, contents
        with _damage_named(path):
            stream.allow(_MAX_UNPACKED)
            while stream.read(_CHUNK):
                pass


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


class _Metered(io.RawIOBase):
    """The unpacked bytes, with bounds to how many may be asked for: in all, and up to the end of the next header.

    tarfile reads some headers whole, at whatever length the archive declares, or in an endless chain.
    """

    def __init__(self, unpacked: gzip.GzipFile) -> None:
        self._unpacked = unpacked
        self._left = _MAX_UNPACKED
        self.allow(0)

    def allow(self, contents: int) -> None:
        """Allow reads of `contents` bytes and, after them, of the next header."""
        self._allowed = contents + _MAX_HEADERS

    def read(self, size: int = -1) -> bytes:
        self._left -= size
        self._allowed -= size
        if self._left < 0:
            raise ValueError(f"more than {_MAX_UNPACKED:,} bytes when unpacked")
        if self._allowed < 0:
            raise ValueError(f"a header of more than {_MAX_HEADERS:,} bytes")
        return self._unpacked.read(size)
