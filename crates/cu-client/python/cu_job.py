"""What a resumable job calls, for Python 3.8 and newer: one file, the standard library alone.

Install it with the package `cu-job`, or copy it beside your program. A job in eight lines::

    import cu_job

    with cu_job.Job() as job:
        step = job.load_json(default=0)
        while step < 1_000_000:
            step += 1  # the work
            if job.should_exit():
                job.save_json(step)
                job.exit_for_resume()
        job.finalize({"steps": step})

Whatever writes to a file object can write a checkpoint, which appears as a whole or not at all::

    with job.checkpoint_writer() as file:
        torch.save(model.state_dict(), file)  # or pickle.dump, numpy.savez, ...
    with job.checkpoint_reader() as file:  # raises NoCheckpoint the first time
        model.load_state_dict(torch.load(file))

So can whatever writes to a path. All files below it are one checkpoint::

    with job.save_dir() as path:
        model.save_pretrained(path)
    path = job.load_dir()  # None the first time

A program written for the Python package cluster_utils changes its import: the functions
`initialize_job`, `finalize_job`, `exit_for_resume`, `announce_early_results`,
`announce_fraction_finished`, the decorator `cluster_main` and the older names are here, too. They
read the same arguments.

The settings come from the file that CU_SETTINGS names. Without CU_SETTINGS `Job` takes them from
the program's first argument if that ends in `.json`. The output directory is CU_OUTPUT_DIR, or else the
current directory. Every call works without a supervisor; `Job()` then says so on standard error. If
the program fails with an exception, the supervisor is told.

Signals. A job that is made in the main thread notes SIGUSR1, SIGUSR2, SIGTERM and SIGINT as reasons
to exit. Nothing interrupts the program, however often they come: it may be saving. There is one
exception: without a supervisor, a second Ctrl-C interrupts as usual. A handler of the program's own
that was there before is called each time, and a handler that is installed later replaces ours.
After `finalize`, SIGTERM and SIGINT do again what they did before the job was made. They also do
after `exit_for_resume`, once the supervisor knows. At the end of the `with` block all of them do.

Child processes. A child, whether of os.fork or of multiprocessing, has the signal handlers that it
would have without a job. It may announce, ask `should_exit`, save and load. Only the process that
made the job can call `finalize` and `exit_for_resume`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import csv
import errno
import fcntl
import functools
import importlib
import inspect
import io
import json
import math
import os
import re
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import weakref
import zlib
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Mapping, NoReturn, Optional
from typing import Set, Tuple, Type, Union

__all__ = [
    "CheckpointError",
    "Job",
    "JobError",
    "NoCheckpoint",
    "RESUME_EXIT_CODE",
    "Settings",
    "announce_early_results",
    "announce_fraction_finished",
    "cluster_main",
    "exit_for_resume",
    "finalize_job",
    "initialize_job",
    "read_params_from_cmdline",
    "save_metrics_params",
    "should_exit",
]

RESUME_EXIT_CODE = 3
"""The exit code that by itself is a resume request."""

_LOOK_EVERY = 0.1  # seconds between two looks at the stop file and the supervisor
_LEAST_MARGIN = 10.0  # seconds kept free before the time limit, for a save and the end
_SLOWEST_SAVE_TIMES = 3  # the next save may take this many times as long as the slowest one
_SAVE_EVERY = 600.0  # seconds between periodic saves
_SHARE_OF_SAVES = 20  # periodic saves take at most one part in this many of the time
_SEND_EVERY = 0.1  # seconds between two announcements of progress
_PATIENCE = {"resume_request": 10.0, "failed": 10.0, "results": 60.0}  # seconds
_PATIENCE_OF_A_CHILD = 2.0  # seconds that an announcement of a child waits for its answer
_LONGEST_TEXT = 60_000  # characters of a failure
_LONGEST_LINE = 1 << 20  # bytes of an answer


class JobError(Exception):
    """A call to the job failed. The message says what, where and why."""


class CheckpointError(JobError):
    """A checkpoint could not be saved or loaded. What was saved before is still there."""


class NoCheckpoint(CheckpointError):
    """Nothing was saved yet."""


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads standard error any more
        print(f"cu_job: {text}", file=sys.stderr, flush=True)


# Settings and metrics


class Settings(Dict[str, Any]):
    """Settings that can't be changed. Nested ones can also be read with dots."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no setting `{name}`") from None

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("settings can't be changed; `dict(settings)` is a copy that can")

    __setattr__ = __delattr__ = __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> Tuple[Any, ...]:
        return (Settings, (dict(self),))

    def __deepcopy__(self, memo: Dict[int, Any]) -> Settings:
        return self


def _read_settings(path: Optional[str]) -> Settings:
    if path is None:
        return Settings()
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file, object_hook=Settings)
    except (OSError, ValueError) as error:
        raise JobError(f"can't read the settings in {path}: {error}") from error
    if not isinstance(settings, Settings):
        example = '{"seed": 1}'
        raise JobError(
            f"can't read the settings in {path}: it is not a JSON object, such as {example}"
        )
    return settings


def _settings_argument() -> Optional[str]:
    if len(sys.argv) > 1 and sys.argv[1].endswith(".json"):
        return sys.argv[1]
    return None


def _number(name: str, kind: Callable[[str], Any]) -> Any:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise JobError(f"the environment variable {name} is `{text}`, not a number") from None


def _flatten(nested: Mapping[Any, Any], prefix: str = "") -> Dict[str, Any]:
    flat: Dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _plain(value: Any) -> Any:
    """A cell of a table: None, a bool, a number or text."""
    if not isinstance(value, (bool, int, float, str, type(None))):
        if callable(getattr(value, "item", None)):  # a number of NumPy, a tensor with one element
            with contextlib.suppress(TypeError, ValueError, RuntimeError):
                return _plain(value.item())
        return str(list(value)) if isinstance(value, tuple) else str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def _metrics(metrics: Mapping[str, Any]) -> Dict[str, Any]:
    if not isinstance(metrics, Mapping):
        raise JobError(
            'metrics are a dict of names and values, such as {"loss": 0.1}, '
            f"not a {type(metrics).__name__}"
        )
    return {name: _plain(value) for name, value in _flatten(metrics).items()}


def _for_json(value: Any) -> Any:
    """JSON has no word for NaN and the infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"float": name}
    return value


def _one_line_csv(cells: Mapping[str, Any]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(cells))
    writer.writeheader()
    writer.writerow(dict(cells))
    return text.getvalue()


# Files that appear as a whole

_TEMPORARY = ".cu-tmp-"
_MANIFEST = ".cu-manifest"
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_NO_LOCKS = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def _sync_directory(path: Union[str, Path]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync directories; their server decides when it is durable.
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> Optional[bool]:
    """Whether the lock was free. None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _create_temporary(
    directory: Path, prefix: str = _TEMPORARY, *, is_directory: bool = False
) -> Tuple[int, str]:
    """A new file, or the manifest of a new directory; and the path of the file or directory. It is
    locked: if another process gets the lock, the writer is dead."""
    while True:
        path = _unused_path(directory, prefix)
        if is_directory:
            os.mkdir(path)
        to_lock = os.path.join(path, _MANIFEST) if is_directory else path
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(to_lock, flags, 0o666)
        except (FileExistsError, FileNotFoundError):
            if is_directory:  # a sweeper was faster
                continue
            raise
        if _try_lock(descriptor) is not False and os.fstat(descriptor).st_nlink > 0:
            return descriptor, path
        os.close(descriptor)  # a sweeper was faster


def _unused_path(directory: Path, prefix: str) -> str:
    return os.path.join(directory, prefix + os.urandom(6).hex())


def _remove(path: Union[str, Path]) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


@contextlib.contextmanager
def _removed_at_the_end(temporary: str) -> Iterator[None]:
    """Removes a temporary that was not renamed. Only the process that made it does: a child that
    was forked within the block leaves the block, too."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == process:
            _remove(temporary)


def _write_atomically(path: Path, content: str) -> None:
    descriptor, temporary = _create_temporary(path.parent)
    with _removed_at_the_end(temporary):
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            os.replace(temporary, path)
    _sync_directory(path.parent)


# Checkpoints, in the format of the Rust crate cu-checkpoint

_HEADER = struct.Struct("<8sHBxIQQI24xI")
_MAGIC = b"\x89CUCKP\r\n"
_VERSION = 1
_VALUE, _STREAM, _DIRECTORY = 1, 2, 3
_FORMS = {
    _VALUE: "a value that a Rust program saved",
    _STREAM: "a file (load it with checkpoint_reader, load_bytes or load_json)",
    _DIRECTORY: "a directory (load it with load_dir)",
}
_CHECKPOINT = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.checkpoint")
_ENTRY = struct.Struct("<BQII")  # of a manifest: kind, length, checksum, length of the path
_DIRECTORY_ENTRY, _FILE_ENTRY = 0, 1

_Generation = Tuple[int, int]  # attempt and counter; the greatest is the newest


class _Damaged(Exception):
    pass


class _Checkpoints:
    """The checkpoints in one directory. Each has a header, with generation, length and checksum,
    and a payload: the bytes of a stream, or the manifest of a directory."""

    def __init__(self, directory: Path, attempt: int, keep: int) -> None:
        self._directory = directory
        self._attempt = attempt
        self._keep = keep
        self._is_prepared = False

    def generations(self) -> List[_Generation]:
        """Newest first."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        found = [match for match in map(_CHECKPOINT.fullmatch, names) if match]
        return sorted(((int(match[1]), int(match[2])) for match in found), reverse=True)

    def _path(self, generation: _Generation) -> Path:
        return self._directory / "{}.{}.checkpoint".format(*generation)

    @contextlib.contextmanager
    def writer(self) -> Iterator[IO[bytes]]:
        self._prepare()
        descriptor, temporary = _create_temporary(self._directory, self._prefix())
        with _removed_at_the_end(temporary), open(descriptor, "wb", buffering=0) as file:
            container = _Container(file)
            buffered = io.BufferedWriter(container, 1 << 20)
            yield buffered
            if not buffered.closed:
                buffered.flush()
            self._publish(temporary, _STREAM, container)

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        self._prepare()
        descriptor, temporary = _create_temporary(
            self._directory, self._prefix(), is_directory=True
        )
        with _removed_at_the_end(temporary), open(descriptor, "wb", buffering=0) as file:
            container = _Container(file)
            yield Path(temporary)
            if os.fstat(file.fileno()).st_nlink == 0:
                raise CheckpointError(
                    f"{temporary} was removed while the checkpoint was being written; a library "
                    "that clears its directory needs one of its own, such as `path / 'model'`"
                )
            container.write(_describe(temporary))
            self._publish(temporary, _DIRECTORY, container)

    def _prepare(self) -> None:
        """Makes the directory durable, and removes what dead writers left in it."""
        if self._is_prepared:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        _sync_directory(self._directory.parent)  # also one that was made by a process that died
        with os.scandir(self._directory) as entries:
            for entry in list(entries):
                if entry.name.startswith(_TEMPORARY):
                    with contextlib.suppress(OSError):
                        self._sweep(entry)
        self._is_prepared = True

    def _prefix(self) -> str:
        return f"{_TEMPORARY}{self._attempt}-"

    def _sweep(self, entry: os.DirEntry[str]) -> None:
        """Removes a temporary if its writer is dead. Where there are no locks, those of earlier
        attempts count as dead. Those of later ones are never touched."""
        owner, dash, _ = entry.name[len(_TEMPORARY) :].partition("-")
        age = self._attempt - int(owner) if dash and owner.isdecimal() else 0
        is_directory = entry.is_dir(follow_symlinks=False)
        if age < 0 or not (is_directory or entry.is_file(follow_symlinks=False)):
            return
        # A directory whose removal was interrupted has lost its manifest.
        to_lock = os.path.join(entry.path, _MANIFEST) if is_directory else entry.path
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if is_directory else 0)
        descriptor = os.open(to_lock, flags, 0o666)
        try:
            is_free = _try_lock(descriptor)
            if is_free or (is_free is None and age > 0):
                _remove(entry.path)
        finally:
            os.close(descriptor)

    def _publish(self, temporary: str, form: int, container: _Container) -> None:
        container.refuse_another_process()
        while True:
            present = self.generations()
            mine = [counter for attempt, counter in present if attempt == self._attempt]
            saved = (self._attempt, mine[0] + 1 if mine else 0)
            container.seal(form, saved)
            if self._name(temporary, form, self._path(saved)):
                break
        _sync_directory(self._directory)
        older = [generation for generation in present if generation < saved]
        for generation in older[self._keep - 1 :]:
            self._discard(self._path(generation))

    def _name(self, temporary: str, form: int, path: Path) -> bool:
        """Whether the checkpoint got this name. It does not if there is one of this name."""
        try:
            if form == _DIRECTORY:
                os.rename(temporary, path)  # replaces neither a file nor a directory with files
            else:
                os.link(temporary, path)  # replaces nothing
        except (FileExistsError, NotADirectoryError):
            return False
        except OSError as error:
            if form == _DIRECTORY and error.errno == errno.ENOTEMPTY:
                return False
            if form == _DIRECTORY or error.errno not in _NO_LINKS:
                raise
            os.rename(temporary, path)
        return True

    def _discard(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # another process was faster
            if path.is_dir() and not path.is_symlink():
                # Under another name first: a reader finds it whole or not at all.
                trash = _unused_path(self._directory, self._prefix())
                os.rename(path, trash)
                _remove(trash)
            else:
                _remove(path)

    def reader(self) -> io.BufferedReader:
        """The newest stream."""
        _, file, length = self._newest(_STREAM)
        return io.BufferedReader(_Payload(file, length))

    def newest_directory(self) -> Path:
        """Where the newest directory lies."""
        path, file, _ = self._newest(_DIRECTORY)
        file.close()
        return path

    def _newest(self, wanted: int) -> Tuple[Path, io.FileIO, int]:
        """The newest intact checkpoint: its path, its container, and the length of the payload."""
        for _ in range(100):
            skipped: List[str] = []
            generations = self.generations()
            if not generations:
                raise NoCheckpoint(f"nothing was saved in {self._directory} yet")
            for generation in generations:
                path = self._path(generation)
                try:
                    form, file, length = self._open(path, generation)
                except _Damaged as damage:
                    if generation not in self.generations():
                        break  # removed meanwhile, since there is a newer one: list again
                    skipped.append(f"{path}: {damage}")
                    continue
                if form != wanted:
                    file.close()
                    raise CheckpointError(f"the newest checkpoint, {path}, is {_FORMS[form]}")
                for text in skipped:
                    _complain(f"skipped a damaged checkpoint, {text}")
                return path, file, length
            else:
                raise CheckpointError("every checkpoint is damaged: " + "; ".join(skipped))
        raise CheckpointError(
            f"can't load from {self._directory}: checkpoints are removed faster than they are read"
        )

    def _open(self, path: Path, generation: _Generation) -> Tuple[int, io.FileIO, int]:
        """Form, container and length of the payload of a checkpoint, verified."""
        is_directory = path.is_dir()
        if not is_directory and not path.is_file():  # a named pipe would block
            raise _Damaged("is missing, or neither a file nor a directory")
        try:
            file = open(path / _MANIFEST if is_directory else path, "rb", buffering=0)
        except (FileNotFoundError, IsADirectoryError):
            raise _Damaged("its manifest is missing" if is_directory else "is missing") from None
        try:
            form, length, checksum = _read_header(file, path, generation)
            if (form == _DIRECTORY) != is_directory:
                raise _Damaged(f"its header says it is {_FORMS[form]}")
            if os.fstat(file.fileno()).st_size != _HEADER.size + length:
                raise _Damaged(f"not {_HEADER.size + length} bytes long")
            if _measure(file) != (length, checksum):
                raise _Damaged("wrong checksum")
            if is_directory:
                file.seek(_HEADER.size)
                _compare(path, file.read())
            return form, file, length
        except BaseException:
            file.close()
            raise


def _read_header(file: io.FileIO, path: Path, generation: _Generation) -> Tuple[int, int, int]:
    """Form, length and checksum of the payload."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise _Damaged("ends within its header")
    magic, version, form, attempt, counter, length, checksum, own = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise _Damaged("does not start like a checkpoint")
    if zlib.crc32(header[:-4]) != own:
        raise _Damaged("wrong checksum of the header")
    if version != _VERSION or form not in _FORMS:
        raise CheckpointError(
            f"{path} has a newer format ({version}) than this cu_job.py: copy the current cu_job.py"
        )
    if (attempt, counter) != generation:
        raise _Damaged(f"was written as generation {attempt}.{counter}")
    return form, length, checksum


def _measure(file: IO[bytes]) -> Tuple[int, int]:
    """Length and checksum of the rest of a file."""
    length = checksum = 0
    for piece in iter(lambda: file.read(1 << 20), b""):
        length += len(piece)
        checksum = zlib.crc32(piece, checksum)
    return length, checksum


def _contents(root: Union[str, Path]) -> Dict[str, Optional[int]]:
    """The kind of all below a directory but its manifest, by path. None if it can't be saved."""
    found: Dict[str, Optional[int]] = {}
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(os.path.join(root, directory)) as entries:
            for entry in entries:
                path = os.path.join(directory, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    found[path] = _DIRECTORY_ENTRY
                    pending.append(path)
                else:
                    found[path] = _FILE_ENTRY if entry.is_file(follow_symlinks=False) else None
    found.pop(_MANIFEST, None)
    return found


def _describe(root: str) -> bytes:
    """Makes everything below a directory durable. Returns the manifest's payload."""
    entries = []
    for path, kind in sorted(_contents(root).items()):
        full_path = os.path.join(root, path)
        length = checksum = 0
        if kind is None:
            raise CheckpointError(f"can't save {full_path}: it is neither a file nor a directory")
        if kind == _DIRECTORY_ENTRY:
            _sync_directory(full_path)
        else:
            with open(full_path, "rb", buffering=0) as file:
                length, checksum = _measure(file)
                os.fsync(file.fileno())
        name = os.fsencode(path)
        entries.append(_ENTRY.pack(kind, length, checksum, len(name)) + name)
    _sync_directory(root)
    return b"".join(entries)


def _compare(root: Path, manifest: bytes) -> None:
    """Raises `_Damaged` unless all that the manifest names is there, and intact."""
    try:
        present = _contents(root)
        at = 0
        while at < len(manifest):
            kind, length, checksum, length_of_path = _ENTRY.unpack_from(manifest, at)
            at += _ENTRY.size + length_of_path
            path = os.fsdecode(manifest[at - length_of_path : at])
            if at > len(manifest) or not {"", ".", ".."}.isdisjoint(path.split("/")):
                raise _Damaged("its manifest is malformed")
            if path not in present:
                raise _Damaged(f"{path} is missing")
            if present[path] != kind:
                raise _Damaged(f"{path} is of another kind")
            if kind == _FILE_ENTRY:
                with open(root / path, "rb", buffering=0) as file:
                    if _measure(file) != (length, checksum):
                        raise _Damaged(f"wrong length or checksum of {path}")
    except FileNotFoundError as error:
        raise _Damaged(f"{error.filename} is missing") from None
    except struct.error:
        raise _Damaged("its manifest is malformed") from None


class _Container(io.RawIOBase):
    """A checkpoint that is being written: room for the header, then the payload. It can't seek."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._process = os.getpid()
        self._length = 0
        self._checksum = 0
        file.write(bytes(_HEADER.size))

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._file.closed or os.getpid() != self._process:
            # What was left in the buffer of a checkpoint that was given up, or of the parent's.
            return len(data)
        written = self._file.write(data)
        self._checksum = zlib.crc32(memoryview(data)[:written], self._checksum)
        self._length += written
        return written

    def refuse_another_process(self) -> None:
        if os.getpid() != self._process:
            raise CheckpointError(
                f"process {self._process} began this checkpoint, and process {os.getpid()}, its "
                "child, can't end it: end the child with os._exit, or begin the checkpoint after "
                "the fork"
            )

    def seal(self, form: int, generation: _Generation) -> None:
        """Writes the header, and makes the file durable."""
        fields = (_MAGIC, _VERSION, form, *generation, self._length, self._checksum)
        start = _HEADER.pack(*fields, 0)[:-4]
        self._file.seek(0)
        self._file.write(start + struct.pack("<I", zlib.crc32(start)))
        os.fsync(self._file.fileno())


class _Payload(io.RawIOBase):
    """The payload of a verified checkpoint. Its first byte is at position 0."""

    def __init__(self, file: io.FileIO, length: int) -> None:
        self._file = file
        self._length = length
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self.tell()
        elif whence == os.SEEK_END:
            offset += self._length
        if offset < 0:
            raise ValueError("seek to before the start of a checkpoint")
        return self._file.seek(offset + _HEADER.size) - _HEADER.size

    def tell(self) -> int:
        return self._file.tell() - _HEADER.size

    def close(self) -> None:
        self._file.close()
        super().close()


# The connection to the supervisor

_CREDENTIALS = struct.Struct("iII")  # process, user, group


def _peer(connected: socket.socket) -> int:
    """The user at the other end."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _trust(connected: socket.socket) -> None:
    """Raises unless our own user's supervisor listens, or root's. A program that became root (`sudo`)
    is supervised by the owner of its run."""
    if not hasattr(socket, "SO_PEERCRED"):
        return
    one, other = socket.socketpair()
    with one, other:
        own = _peer(one)  # not `os.geteuid()`: under fakeroot that is 0
    user, trusted = _peer(connected), {0, own}
    if own == 0:
        with contextlib.suppress(OSError):
            trusted.add(os.stat(os.environ.get("CU_RUN_DIR", "")).st_uid)
    if user not in trusted:
        raise PermissionError(f"user {user} listens there, not our supervisor")


class _Link:
    """The Unix socket to the supervisor. Each request is a JSON line, and so is its answer; answers
    come in the order of the requests.

    A child has no lasting connection, but one for each call: the supervisor serves a limited number
    at once, and a pool may have many workers."""

    def __init__(self, path: Optional[str], *, is_of_a_child: bool = False) -> None:
        self._path = path
        self._is_of_a_child = is_of_a_child
        self._socket: Optional[socket.socket] = None
        self._given_up = False
        self._received = bytearray()
        self._searched = 0  # bytes of these in which there is no end of a line
        self._unanswered: List[str] = []
        self._lock = threading.RLock()
        self.wish: Any = None

    def continue_in_a_child(self) -> None:
        """Closes the child's copy of the parent's socket, which stays open in the parent. The lock
        is new, since the old one may be held by a thread that only the parent has."""
        self._lock = threading.RLock()
        self._is_of_a_child = True
        self._given_up = False
        self._close()

    def announce(self, kind: str, content: Any) -> None:
        """Sends something. Does not wait for the answer, except in a child. Complains once if the
        supervisor can't be reached."""
        with self._lock, self._complaining():
            if len(self._unanswered) < 256:
                self._write({"say": {kind: content}}, kind)
            self._take_answers(_PATIENCE_OF_A_CHILD if self._is_of_a_child else 0.0)

    def say(self, kind: str, content: Any) -> bool:
        """Sends something, and waits until the supervisor confirms it. False if there is none."""
        if self._path is None:
            return False
        until = time.monotonic() + _PATIENCE[kind]
        with self._lock:
            try:
                try:
                    answer = self._say_once(kind, content, until)
                except socket.timeout:
                    raise
                except OSError:  # the connection may have ended long ago: once more
                    self._close()
                    answer = self._say_once(kind, content, until)
            except (OSError, ValueError) as error:
                self._close()
                raise JobError(
                    f"the supervisor at {self._path} did not confirm the {kind}: {error}"
                ) from error
        if isinstance(answer, dict) and "refused" in answer:
            raise JobError(f"the supervisor refused the {kind}: {answer['refused']}")
        return True

    def ask_for_wish(self, patience: float) -> Any:
        """Why the supervisor wants this program to exit. None if it does not."""
        if self._path is not None:
            with self._lock, self._complaining():
                is_slow = "should_exit" in self._unanswered
                if not is_slow:
                    self._write("should_exit", "should_exit")
                self._take_answers(0.0 if is_slow else patience)
        return self.wish

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if not self._given_up:
                self._given_up = True
                _complain(
                    f"the supervisor at {self._path} can't be reached ({error}); the program goes "
                    "on, and tries again with its last message"
                )
            self._close()
        if self._is_of_a_child:
            self._close()

    def _say_once(self, kind: str, content: Any, until: float) -> Any:
        self._given_up = False
        self._write({"say": {kind: content}}, kind)
        while True:
            asked, answer = self._read(until)
            if not self._unanswered:
                return answer
            self._complain_if_refused(asked, answer)

    def _take_answers(self, patience: float) -> None:
        until = time.monotonic() + patience
        with contextlib.suppress(socket.timeout, BlockingIOError):
            while self._unanswered:
                kind, answer = self._read(until)
                if isinstance(answer, dict) and "should_exit" in answer:
                    self.wish = answer["should_exit"]
                self._complain_if_refused(kind, answer)

    def _complain_if_refused(self, kind: str, answer: Any) -> None:
        if isinstance(answer, dict) and "refused" in answer:
            _complain(f"the supervisor refused the {kind}: {answer['refused']}")

    def _write(self, request: Any, kind: str) -> None:
        if self._path is None or self._given_up:
            return
        if self._socket is None:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connected.connect(self._path)
                _trust(connected)
            except OSError:
                connected.close()
                raise
            self._socket = connected
        self._socket.settimeout(2.0)
        self._socket.sendall(json.dumps(request, allow_nan=False).encode() + b"\n")
        self._unanswered.append(kind)

    def _read(self, until: float) -> Tuple[str, Any]:
        while True:
            end = self._received.find(b"\n", self._searched)
            if end >= 0:
                break
            self._searched = len(self._received)
            if self._searched > _LONGEST_LINE:
                raise ConnectionError("its answer has no end")
            if self._socket is None:
                raise ConnectionError("not connected")
            self._socket.settimeout(max(0.0, until - time.monotonic()))
            try:
                received = self._socket.recv(65536)
            except BlockingIOError:
                raise socket.timeout("no answer in time") from None
            if not received:
                raise ConnectionError("it ended the connection")
            self._received += received
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._searched = 0
        return self._unanswered.pop(0), json.loads(line)

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._received, self._unanswered = None, bytearray(), []
        self._searched = 0


# Signals

_ENDING = (signal.SIGTERM, signal.SIGINT)
_NOTED = (signal.SIGUSR1, signal.SIGUSR2, *_ENDING)


class _Signals:
    """Notes signals, and calls the handlers that were there before."""

    def __init__(self, *, second_interrupt_counts: bool) -> None:
        self._second_interrupt_counts = second_interrupt_counts
        self._before: Dict[int, Any] = {}
        self._noted: Set[int] = set()
        self._came: List[int] = []

    @property
    def last(self) -> Optional[int]:
        """The signal that came last."""
        return self._came[-1] if self._came else None

    @property
    def noted(self) -> Set[int]:
        """The signals that are noted now."""
        return set(self._noted)

    def note(self) -> None:
        """Notes signals from now on."""
        for number in _NOTED:
            before = signal.getsignal(number)
            if before is not None:  # not of a library in C, which Python could not put back
                self._before[number] = before
                self._noted.add(number)
                signal.signal(number, self._handle)

    def put_back(self, *numbers: int) -> None:
        """Stops noting these signals: they do again what they did before."""
        for number in self._noted.intersection(numbers):
            self._noted.discard(number)
            with contextlib.suppress(ValueError):  # in another thread than the main one
                if signal.getsignal(number) == self._handle:
                    signal.signal(number, self._before[number])

    def _handle(self, number: int, frame: Optional[FrameType]) -> None:
        before = self._before[number]
        if number in self._noted:
            is_second = number in self._came
            self._came.append(number)
            if before is signal.default_int_handler:
                if not (is_second and self._second_interrupt_counts):
                    return
        elif signal.getsignal(number) == self._handle:
            # Another thread stopped noting it, or somebody has put this handler back since.
            signal.signal(number, before)
            os.kill(os.getpid(), number)
            return
        if callable(before):
            before(number, frame)


# Forks

_jobs: List[weakref.ref[Job]] = []
_forking = threading.local()


def _newest_jobs_first() -> List[Job]:
    return [job for job in (reference() for reference in reversed(_jobs)) if job is not None]


def _before_fork() -> None:
    """Holds signals back until the child has its own handlers. A signal that comes to the child
    before, such as that of `Process.terminate`, would be lost."""
    noted = {number for job in _newest_jobs_first() for number in job._signals.noted}
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, noted)


def _after_fork_in_parent() -> None:
    if hasattr(_forking, "mask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child() -> None:
    for job in _newest_jobs_first():
        job._continue_in_a_child()
    _after_fork_in_parent()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


def _is_imported_by_a_child() -> bool:
    """Whether multiprocessing is importing the main module once more, for a child that it starts by
    spawn or forkserver."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and hasattr(module.current_process(), "_inheriting")


# The job


class Job:
    """One job: made at the start of the program, ended by `finalize` or `exit_for_resume`.

    As a context manager it reports an exception that leaves the block as the job's failure. At the
    end of the block signals do again what they did before.
    """

    settings: Settings
    output_dir: Path
    attempt: int
    id: Optional[int]
    run_dir: Optional[Path]
    exit_reason: Optional[str]

    def __init__(
        self,
        settings_file: Union[str, Path, None] = None,
        output_dir: Union[str, Path, None] = None,
        *,
        keep_checkpoints: int = 2,
        note_signals: bool = True,
        report_exceptions: bool = True,
    ) -> None:
        """Takes up the job that this process was started for.

        `settings_file` and `output_dir` count only without a supervisor. `keep_checkpoints` is how
        many of the newest checkpoints stay. `note_signals` and `report_exceptions` turn off what
        their names say.
        """
        environment = {name: value for name, value in os.environ.items() if value}
        is_a_child = _is_imported_by_a_child()
        self._process = None if is_a_child else os.getpid()
        self._link = _Link(environment.get("CU_SOCKET"), is_of_a_child=is_a_child)
        self._is_reported = self._is_finished = False
        if report_exceptions and not is_a_child:
            self._print_exception = sys.excepthook
            sys.excepthook = self._report_uncaught
        source = environment.get("CU_SETTINGS") or settings_file or _settings_argument()
        self._settings_file = Path(source) if source is not None else None
        self.settings = self._load_settings(str(source) if source is not None else None)
        output_dir = output_dir or self._default_output_dir()
        self.output_dir = Path(environment.get("CU_OUTPUT_DIR") or output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.attempt = _number("CU_ATTEMPT", int) or 0
        self.id = _number("CU_JOB_ID", int)
        run_dir = environment.get("CU_RUN_DIR")
        self.run_dir = Path(run_dir) if run_dir else None
        directory = self.output_dir / "checkpoints"
        self._checkpoints = _Checkpoints(directory, self.attempt, max(1, keep_checkpoints))

        self.exit_reason = None
        self._started = time.monotonic()
        deadline = _number("CU_DEADLINE", float)
        self._deadline = None if deadline is None else self._started + deadline - time.time()
        self._stop_file = environment.get("CU_STOP_FILE")
        self._after_steps: Optional[int] = None
        self._after: Optional[float] = None
        self._margin: Optional[float] = None
        self._questions = 0
        self._last_question: Optional[float] = None
        self._longest_step = self._longest_save = 0.0
        self._last_look: Optional[float] = None
        self._save_every = _SAVE_EVERY
        self._last_save = self._started
        self._waiting_fraction: Optional[float] = None
        self._fraction_sent: Optional[float] = None
        self._signals = _Signals(second_interrupt_counts="CU_SOCKET" not in environment)
        _jobs.append(weakref.ref(self))
        is_main_thread = threading.current_thread() is threading.main_thread()
        if note_signals and is_main_thread and not is_a_child:
            self._signals.note()
        if "CU_SOCKET" not in environment and not is_a_child:
            _complain(
                f"no supervisor (CU_SOCKET is not set): settings come from {source or 'nowhere'}, "
                f"results go to {self.output_dir}, and nobody is told"
            )

    def _load_settings(self, source: Optional[str]) -> Settings:
        return _read_settings(source)

    def _default_output_dir(self) -> str:
        return "."

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is not None and issubclass(kind, SystemExit):
            return  # what ends the program may still save something
        if kind is not None and error is not None:
            self._report(kind, error, trace)
        self._signals.put_back(*_NOTED)

    def _continue_in_a_child(self) -> None:
        self._signals.put_back(*_NOTED)
        self._link.continue_in_a_child()
        self._waiting_fraction = self._fraction_sent = None

    def _refuse_in_a_child(self, call: str) -> None:
        if os.getpid() != self._process:
            raise JobError(
                f"{call} was called in process {os.getpid()}, a child of the process that made the "
                f"job: let the child return or exit, and call {call} in the process that made it"
            )

    def exit_after_steps(self, count: int) -> None:
        """Lets `should_exit` say yes when it is called for the `count`-th time."""
        self._after_steps = count

    def exit_after(self, seconds: float) -> None:
        """Lets `should_exit` say yes this many seconds after the job was made."""
        self._after = seconds

    def exit_before_limit(self, seconds: float) -> None:
        """Keeps this much time free before the scheduler's time limit, in addition to the longest
        time between two calls of `should_exit`. The default is three times the slowest save, at
        least 10 seconds."""
        self._margin = seconds

    def save_every(self, seconds: float) -> None:
        """Lets `should_save` say yes this long after the last save, instead of 10 minutes. Saves
        still take at most a twentieth of the time."""
        self._save_every = seconds

    def should_exit(self) -> bool:
        """Whether to save and call `exit_for_resume`: because of the criteria above, the time
        limit, the stop file, a signal, or the operator's wish. Once yes, it stays yes. The reason
        is in `exit_reason`. It is cheap enough to be called at every step."""
        now = time.monotonic()
        self._questions += 1
        if self._last_question is not None:
            self._longest_step = max(self._longest_step, now - self._last_question)
        self._last_question = now
        if self.exit_reason is None:
            self.exit_reason = self._cause(now)
        return self.exit_reason is not None

    def _cause(self, now: float) -> Optional[str]:
        if self._signals.last is not None:
            return f"signal {self._signals.last}"
        if self._after_steps is not None and self._questions >= self._after_steps:
            return "steps"
        if self._after is not None and now - self._started >= self._after:
            return "time_budget"
        if self._deadline is not None:
            margin = max(_LEAST_MARGIN, _SLOWEST_SAVE_TIMES * self._longest_save)
            margin = margin if self._margin is None else self._margin
            if self._deadline - now <= margin + self._longest_step:
                return "time_limit"
        if self._last_look is not None and now - self._last_look < _LOOK_EVERY:
            return None
        self._last_look = now
        self._send_fraction()
        wish = self._link.ask_for_wish(0.05)
        if isinstance(wish, dict):
            return " ".join(f"{kind} {number}" for kind, number in wish.items())
        if wish is not None:
            return str(wish)
        return "stop_file" if self._stop_file and os.path.exists(self._stop_file) else None

    def should_save(self) -> bool:
        """Whether it is time for a periodic save. After a crash the job goes on from the last."""
        interval = max(self._save_every, _SHARE_OF_SAVES * self._longest_save)
        return time.monotonic() - self._last_save >= interval

    @contextlib.contextmanager
    def checkpoint_writer(self) -> Iterator[IO[bytes]]:
        """A file to write a checkpoint to. The checkpoint is durable when the block ends. If the
        block raises, it leaves no trace. The file can't seek."""
        with self._saving(), self._checkpoints.writer() as file:
            yield file

    def checkpoint_reader(self) -> io.BufferedReader:
        """The newest intact checkpoint as a file. It is verified before you get the first byte.
        Damaged ones are skipped, and named on standard error. Raises `NoCheckpoint` if nothing was
        saved yet, `CheckpointError` if all are damaged or the newest is of another kind."""
        return self._checkpoints.reader()

    @contextlib.contextmanager
    def save_dir(self) -> Iterator[Path]:
        """A new directory to write the files of a checkpoint to. When the block ends, all that is
        below it is one checkpoint, and durable. If the block raises, or the process dies, it leaves
        no trace. Close the files before the block ends. Links can't be saved.

        The directory exists and is not quite empty. A library that insists on making or clearing
        its directory gets one below: `path / "model"`."""
        with self._saving(), self._checkpoints.directory() as path:
            yield path

    def load_dir(self, default: Optional[Path] = None) -> Optional[Path]:
        """Where the newest intact checkpoint of `save_dir` lies, or `default` if nothing was saved
        yet. All files in it are verified. Only read there: a change would damage the checkpoint.
        It is removed once `keep_checkpoints` newer ones are saved."""
        try:
            return self._checkpoints.newest_directory()
        except NoCheckpoint:
            return default

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"can't save in {self.output_dir}/checkpoints: {error}") from error
        self._last_save = time.monotonic()
        self._longest_save = max(self._longest_save, self._last_save - begun)

    def save_bytes(self, data: bytes) -> None:
        """Saves bytes as a checkpoint."""
        with self.checkpoint_writer() as file:
            file.write(data)

    def load_bytes(self, default: Any = None) -> Any:
        """The newest checkpoint as bytes, or `default` if nothing was saved yet."""
        try:
            with self.checkpoint_reader() as file:
                return file.read()
        except NoCheckpoint:
            return default

    def save_json(self, value: Any) -> None:
        """Saves anything that JSON can hold as a checkpoint."""
        self.save_bytes(json.dumps(value).encode())

    def load_json(self, default: Any = None) -> Any:
        """The newest checkpoint, saved by `save_json`, or `default` if nothing was saved yet."""
        data = self.load_bytes()
        return default if data is None else json.loads(data)

    def announce_fraction_finished(self, fraction: float) -> None:
        """Announces how much of the whole job is done, from 0 to 1. It may be called at every step:
        at most ten a second are sent, and always the last one."""
        if math.isnan(fraction):
            return
        self._waiting_fraction = min(1.0, max(0.0, float(fraction)))
        sent = self._fraction_sent
        if sent is None or time.monotonic() - sent >= _SEND_EVERY:
            self._send_fraction()

    def _send_fraction(self) -> None:
        if self._waiting_fraction is not None:
            self._link.announce("progress", self._waiting_fraction)
            self._waiting_fraction = None
            self._fraction_sent = time.monotonic()

    def announce_early_results(self, metrics: Mapping[str, Any]) -> None:
        """Announces metrics before the end. The job's `early_results.csv` keeps the series; of each name
        the latest counts as the job's metric."""
        plain = {name: _for_json(value) for name, value in _metrics(metrics).items()}
        self._link.announce("early_metrics", plain)

    def exit_for_resume(self) -> NoReturn:
        """Asks to be submitted again, with the same settings and the same output directory, and
        ends the process with exit code 3. Save before."""
        self._refuse_in_a_child("exit_for_resume")
        if self._is_finished:
            raise JobError(
                "exit_for_resume was called after finalize: the job has its results, and is not "
                "resumed; call finalize when no work is left"
            )
        self._send_fraction()
        newest = self._checkpoints.generations()[:1]
        checkpoint = [{"attempt": attempt, "counter": counter} for attempt, counter in newest]
        request = {"checkpoint": checkpoint[0] if checkpoint else None}
        try:
            if self._link.say("resume_request", request):
                self._signals.put_back(*_ENDING)
        except JobError as error:
            _complain(f"{error}; the exit code {RESUME_EXIT_CODE} still asks for the resume")
        if threading.current_thread() is threading.main_thread():
            sys.exit(RESUME_EXIT_CODE)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(RESUME_EXIT_CODE)  # in another thread `sys.exit` ends just that thread

    def finalize(self, metrics: Mapping[str, Any]) -> None:
        """Ends the job with its results: writes `settings.json`, `param_choice.csv` and
        `metrics.csv` into the output directory, each as a whole, and sends the metrics to the
        supervisor.

        Nested metrics get dotted names. `time_elapsed`, the seconds since the job was made in this
        attempt, is added unless the metrics have it. It does not include earlier attempts: their
        times are in `cu show JOB`, and a program that wants the sum keeps it in its checkpoint.

        The program then goes on. Python itself ends once all threads have ended that are not
        daemons, and a thread that never ends is ended only by the supervisor or the time limit."""
        self._refuse_in_a_child("finalize")
        results = dict(sorted(_metrics(metrics).items()))
        results.setdefault("time_elapsed", self._seconds())
        self._finish(dict(sorted(_flatten(self.settings).items())), dict(sorted(results.items())))

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _write_settings(self) -> None:
        """Not over the file that the settings come from."""
        target = self.output_dir / "settings.json"
        given = self._settings_file
        if given is None or not target.exists() or not given.samefile(target):
            _write_atomically(target, json.dumps(self.settings, sort_keys=True, indent=4))

    def _finish(self, choice: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        self._write_settings()
        _write_atomically(self.output_dir / "param_choice.csv", _one_line_csv(choice))
        _write_atomically(self.output_dir / "metrics.csv", _one_line_csv(results))
        self._send_fraction()
        plain = {name: _for_json(value) for name, value in results.items()}
        self._link.say("results", plain)
        self._is_finished = True
        self._signals.put_back(*_ENDING)

    def _report_uncaught(
        self,
        kind: Type[BaseException],
        error: BaseException,
        trace: Optional[TracebackType],
    ) -> None:
        self._print_exception(kind, error, trace)
        self._report(kind, error, trace)

    def _report(
        self,
        kind: Type[BaseException],
        error: BaseException,
        trace: Optional[TracebackType],
    ) -> None:
        if not self._is_reported and os.getpid() == self._process:
            self._is_reported = True
            text = "".join(traceback.format_exception(kind, error, trace))
            try:
                self._link.say("failed", {"text": text[-_LONGEST_TEXT:]})
            except JobError as unheard:
                _complain(str(unheard))


# What a program for the Python package cluster_utils calls

_RESERVED = ("_id", "_iteration", "job_restarts")
_DYNAMIC = re.compile(r"\{.+\}", re.DOTALL)


class _Mutable(Dict[str, Any]):
    """Settings that can be changed, also with dots."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no setting `{name}`") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"there is no setting `{name}`") from None


class _Parameters(Settings):
    """What `initialize_job` returns. As in cluster_utils no item can be assigned, but `update`,
    `setdefault`, `pop`, `popitem` and `clear` work, and `_mutable_copy()` can be changed freely."""

    update = dict.update
    setdefault = dict.setdefault
    pop = dict.pop
    popitem = dict.popitem
    clear = dict.clear

    def _mutable_copy(self) -> _Mutable:
        copied: _Mutable = _converted(self, _Mutable)
        return copied

    def __reduce__(self) -> Tuple[Any, ...]:
        return (_Parameters, (dict(self),))

    def __deepcopy__(self, memo: Dict[int, Any]) -> _Parameters:
        copied: _Parameters = _converted(self, _Parameters)
        return copied

    def __str__(self) -> str:
        return json.dumps(self, sort_keys=True, indent=4, default=str)

    __repr__ = __str__


def _converted(value: Any, kind: Callable[[Dict[str, Any]], Any]) -> Any:
    """A copy in which all dicts are of one kind."""
    if isinstance(value, Mapping):
        return kind({name: _converted(inner, kind) for name, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return [_converted(inner, kind) for inner in value]
    return value


class _SettingsError(JobError, ValueError):
    """The settings on the command line can't be read."""


class _NoSettingsFile(JobError, FileNotFoundError):
    """The file with the settings does not exist."""


class _CommandLine:
    """The arguments of a job in cluster_utils: a file or a dict, then `key=value`."""

    def __init__(self, arguments: List[str]) -> None:
        parser = argparse.ArgumentParser(description="A job. `cu run` gives it its settings.")
        parser.add_argument(
            "--parameter-dict",
            action="store_true",
            help="the first argument is a dict in Python's notation, not a file",
        )
        parser.add_argument("--job-id", metavar="ID", type=int, help=argparse.SUPPRESS)
        parser.add_argument("--cluster-utils-server", metavar="ADDRESS", help=argparse.SUPPRESS)
        parser.add_argument(
            "settings",
            nargs="*",
            metavar="FILE key=value",
            help="a .json, .toml or .yaml file with settings; then settings with their values in "
            "Python's notation, such as rate=0.1 name='\"digits\"' model.layers=[8,8]",
        )
        given = parser.parse_intermixed_args(arguments)
        if given.cluster_utils_server is not None:
            if given.job_id is None:
                parser.error("--job-id is required when --cluster-utils-server is set")
            parser.error(
                "--cluster-utils-server: this program uses cu_job, which can't answer to the main "
                "process of cluster_utils; start it by `cu run`, without this argument"
            )
        rest = list(given.settings)
        self.source: Optional[str] = None
        if rest and (given.parameter_dict or "=" not in rest[0] or _is_quoted_dict(rest[0])):
            self.source = rest.pop(0)
        elif given.parameter_dict:
            parser.error("--parameter-dict needs a dict, such as \"{'seed': 1}\"")
        self._is_dict = given.parameter_dict
        self._assignments = rest

    def base(self) -> Dict[str, Any]:
        """What the file or the dict says."""
        if self.source is None:
            return {}
        if self._is_dict:
            settings = _literal(self.source, "--parameter-dict")
            if not isinstance(settings, dict):
                raise _SettingsError(
                    "'parameter_file_or_dict' must be a dictionary (`--parameter-dict` is set)."
                    f" It is {self.source!r}; an example is {{'seed': 1}}"
                )
        else:
            settings = _read_file(self.source)
        for name in _RESERVED:
            if name in settings:
                raise _SettingsError(f"a setting can't be named `{name}`: the name is reserved")
        return _as_json(settings, self.source)

    def assign(self, settings: Dict[str, Any]) -> None:
        """Sets what the arguments `key=value` say."""
        for argument in self._assignments:
            path, equals, text = argument.partition("=")
            if not equals:
                raise _SettingsError(
                    f"can't read the argument `{argument}`: it must be key=value, such as seed=1"
                )
            value = _as_json({"": _literal(text, argument)}, argument)[""]
            *parents, name = path.split(".")
            target = settings
            for parent in parents:
                inner = target.get(parent)
                if not isinstance(inner, dict):
                    raise _SettingsError(
                        f"can't read the argument `{argument}`: there is no setting `{parent}` "
                        "with settings below it"
                    )
                target = inner
            if name in _RESERVED or not name:
                raise _SettingsError(f"can't set `{path}`: the name is reserved or empty")
            target[name] = value


def _is_quoted_dict(text: str) -> bool:
    return text.lstrip().startswith("{") or os.path.exists(text)


def _literal(text: str, source: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _SettingsError(
            f"can't read `{text}` in `{source}`: it is not a literal of Python, such as 1, True, "
            "None, [1, 2] or \"text\" (on a command line quote a text twice: name='\"text\"')"
        ) from error


def _as_json(settings: Mapping[str, Any], source: str) -> Dict[str, Any]:
    """The settings as JSON has them: tuples become lists."""
    try:
        plain: Dict[str, Any] = json.loads(json.dumps(settings))
    except (TypeError, ValueError) as error:
        raise _SettingsError(f"can't use the settings in {source}: {error}") from error
    return plain


def _without_doubles(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    settings = dict(pairs)
    if len(settings) < len(pairs):
        names = [name for name, _ in pairs]
        doubles = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"`{doubles[0]}` is there twice")
    return settings


def _read_file(path: str) -> Dict[str, Any]:
    if not os.path.isfile(path):
        raise _NoSettingsFile(
            f"{path!r} does not exist or is not a file. It was given as the file with the settings"
        )
    kind = os.path.splitext(path)[1].lower()
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if kind == ".json":
            settings = json.loads(text, object_pairs_hook=_without_doubles)
        elif kind == ".toml":
            settings = _library(path, "tomllib", "tomli").loads(text)
        elif kind in (".yaml", ".yml"):
            settings = _library(path, "yaml").safe_load(text)
        else:
            raise _SettingsError(
                f"can't read the settings in {path}: it must end in .json, .toml, .yaml or .yml"
            )
    except JobError:
        raise
    except Exception as error:  # each library has errors of its own
        raise _SettingsError(f"can't read the settings in {path}: {error}") from error
    if not isinstance(settings, dict):
        raise _SettingsError(f"can't read the settings in {path}: it has no names and values")
    return settings


def _library(path: str, *names: str) -> Any:
    for name in names:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    package = {"tomli": "tomli", "yaml": "PyYAML"}[names[-1]]
    raise _SettingsError(f"can't read {path} without a library: run `pip install {package}`")


def _evaluated(settings: Dict[str, Any]) -> Dict[str, Any]:
    """Strings such as `{a + 1}` and imports have their meaning from the package smart_settings."""
    found = _first_dynamic(settings, "")
    if found is None:
        return settings
    try:
        smart_settings = importlib.import_module("smart_settings")
    except ImportError:
        raise _SettingsError(
            f"the setting `{found}` must be evaluated: run `pip install al-smart-settings`, or "
            "take it as it is by initialize_job(dynamic=False)"
        ) from None
    evaluated = smart_settings.loads(json.dumps(settings), dynamic=True, make_immutable=False)
    return _as_json(evaluated, "the evaluated settings")


def _first_dynamic(value: Any, name: str) -> Optional[str]:
    """The name of a setting that smart_settings would change."""
    if isinstance(value, str):
        return name if _DYNAMIC.search(value) else None
    inner: Iterable[Tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, item in inner:
        path = f"{name}.{key}" if name else str(key)
        if key == "__import__":
            return path
        found = _first_dynamic(item, path)
        if found is not None:
            return found
    return None


class _CommandLineJob(Job):
    """A job whose settings come from its arguments, too. Those of the run stand above the file's,
    and `key=value` above both."""

    def __init__(self, arguments: List[str], is_dynamic: bool) -> None:
        self._arguments = arguments
        self._is_dynamic = is_dynamic
        super().__init__()

    def _load_settings(self, source: Optional[str]) -> Settings:
        command_line = _CommandLine(self._arguments)
        settings = command_line.base()
        if os.environ.get("CU_SETTINGS"):
            settings.update(_converted(_read_settings(source), dict))
        elif not command_line.source:
            self._settings_file = None
        else:
            self._settings_file = Path(command_line.source)
        if self._is_dynamic:
            settings = _evaluated(settings)
        command_line.assign(settings)
        converted: Settings = _converted(settings, Settings)
        return converted

    def _default_output_dir(self) -> str:
        return str(self.settings.get("working_dir") or ".")


_current: Optional[Job] = None


def _job() -> Job:
    if _current is None:
        raise JobError("there is no job yet: call initialize_job before")
    return _current


def initialize_job(
    cmd_line: Optional[List[str]] = None, verbose: bool = False, dynamic: bool = True
) -> _Parameters:
    """Makes the job of this process, and returns its settings, with `working_dir` and `id`.

    They come from the run, or without a supervisor from the arguments in `cmd_line` (with the name
    of the program first; `sys.argv` if it is None): a file `.json`, `.toml` or `.yaml`, or
    `--parameter-dict` and a dict in Python's notation. Then `key=value` changes single ones. What
    can't be read is an error. The output directory is then the setting `working_dir`, or else the
    current directory.

    `verbose` prints them. `dynamic` lets the package smart_settings evaluate strings such as
    `{a + 1}`. Without that package such a string is an error."""
    global _current
    arguments = list(sys.argv if cmd_line is None else cmd_line)[1:]
    _current = job = _CommandLineJob(arguments, dynamic)
    settings: _Parameters = _converted(job.settings, _Parameters)
    if os.environ.get("CU_OUTPUT_DIR") or "working_dir" not in settings:
        settings.update(working_dir=str(job.output_dir))
    if job.id is not None or "id" not in settings:
        settings.update(id=job.id)
    if "working_dir" in job.settings:
        job._write_settings()
    if verbose:
        print(settings)
    return settings


def read_params_from_cmdline(
    cmd_line: Optional[List[str]] = None,
    make_immutable: bool = True,
    verbose: bool = False,
    dynamic: bool = True,
    save_params: bool = True,
) -> _Parameters:
    """The older name of `initialize_job`. As in cluster_utils 3.0 `make_immutable` and
    `save_params` must be True."""
    if not make_immutable:
        raise RuntimeError("make_immutable=False is not possible: change params._mutable_copy()")
    if not save_params:
        raise RuntimeError("save_params=False is not possible: the settings are always saved")
    return initialize_job(cmd_line, verbose, dynamic)


def finalize_job(metrics: Mapping[str, Any], params: Optional[Mapping[str, Any]] = None) -> None:
    """As `Job.finalize`, but the columns of the files keep the order of `metrics` and `params`.

    `params`, what `initialize_job` returned and the program may have added to, is written to
    `param_choice.csv`. A dict of metrics gains `time_elapsed`, as in cluster_utils."""
    job = _job()
    job._refuse_in_a_child("finalize_job")
    results = _metrics(metrics)
    results.setdefault("time_elapsed", job._seconds())
    job._finish(_flatten(job.settings if params is None else params), results)
    if isinstance(metrics, dict):
        metrics.setdefault("time_elapsed", results["time_elapsed"])


def save_metrics_params(
    metrics: Mapping[str, Any], params: Optional[Mapping[str, Any]] = None
) -> None:
    """The older name of `finalize_job`."""
    finalize_job(metrics, params)


def should_exit() -> bool:
    """As `Job.should_exit`."""
    return _job().should_exit()


def exit_for_resume() -> NoReturn:
    """As `Job.exit_for_resume`."""
    _job().exit_for_resume()


def announce_early_results(metrics: Mapping[str, Any]) -> None:
    """As `Job.announce_early_results`."""
    _job().announce_early_results(metrics)


def announce_fraction_finished(fraction_finished: float) -> None:
    """As `Job.announce_fraction_finished`."""
    _job().announce_fraction_finished(fraction_finished)


def cluster_main(
    main_func: Optional[Callable[..., Mapping[str, Any]]] = None, **arguments: Any
) -> Any:
    """Makes a program of a function that takes the settings by name and returns the metrics.

    The function also gets `working_dir` and `id` if it has parameters of these names. Write
    `@cluster_main`, or with arguments for `initialize_job` `@cluster_main(verbose=True)`."""
    if main_func is None:
        return functools.partial(cluster_main, **arguments)
    main: Callable[..., Mapping[str, Any]] = main_func
    unknown = set(arguments) - set(inspect.signature(read_params_from_cmdline).parameters)
    if unknown:
        raise TypeError(f"cluster_main has no argument `{sorted(unknown)[0]}`")

    @functools.wraps(main)
    def wrapper() -> Mapping[str, Any]:
        settings = read_params_from_cmdline(**arguments)
        wanted = inspect.signature(main).parameters.values()
        names = {parameter.name for parameter in wanted}
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted)
        own = set(_job().settings) - {"working_dir", "id"}
        metrics = main(
            **{k: v for k, v in settings.items() if takes_all or k in own or k in names}
        )
        finalize_job(metrics, settings)
        return metrics

    return wrapper
