"""What a resumable job calls, for Python 3.8 and newer: one file, the standard library alone.

Copy it beside your program. A job in eight lines::

    import cu_job

    with cu_job.Job() as job:
        step = job.load_json(default=0)
        while step < 1_000_000:
            step += 1  # the work
            if job.should_exit():
                job.save_json(step)
                job.exit_for_resume()
        job.finalize({"steps": step})

Checkpoints of any kind go through a file object, and are there as a whole or not at all::

    with job.checkpoint_writer() as file:
        torch.save(model.state_dict(), file)  # or pickle.dump, numpy.savez, json, ...
    with job.checkpoint_reader() as file:  # raises NoCheckpoint the first time
        model.load_state_dict(torch.load(file))

Programs written for the Python package cluster_utils change their import, since the functions
`initialize_job`, `finalize_job`, `exit_for_resume`, `announce_early_results`,
`announce_fraction_finished` and the decorator `cluster_main` are here, too.

The settings come from the file that CU_SETTINGS names, else from the program's first argument if
that ends in `.json`, else there are none. The output directory is CU_OUTPUT_DIR, else the current
directory. Without a supervisor every call works, and the first says so on standard error.

If the program fails with an exception, that is reported. SIGUSR1, SIGUSR2, SIGTERM and SIGINT are
noted as reasons to exit, if the job is made in the main thread; handlers that were there before
still run, and a second SIGTERM or SIGINT does what it always does.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import inspect
import io
import json
import math
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import zlib
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Tuple
from typing import Type, Union

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
    "should_exit",
]

RESUME_EXIT_CODE = 3
"""The exit code that by itself is a resume request."""

_LOOK_EVERY = 0.1  # seconds between two looks at the stop file and the supervisor
_LEAST_MARGIN = 10.0  # seconds kept free before the time limit, for a save and the end
_SLOWEST_SAVE_TIMES = 3  # so many times as long as the slowest save the next one may take
_SAVE_EVERY = 600.0  # seconds between periodic saves
_SHARE_OF_SAVES = 20  # periodic saves take at most one part in so many of the time
_SEND_EVERY = 0.1  # seconds between two announcements of progress
_PATIENCE = {"resume_request": 10.0, "failed": 10.0, "results": 60.0}  # seconds
_LONGEST_TEXT = 60_000  # characters of a failure
_LONGEST_LINE = 1 << 20  # bytes of an answer


class JobError(Exception):
    """Something of a job could not be done. The message says what, and where."""


class CheckpointError(JobError):
    """A checkpoint could not be saved or loaded. What was saved before is still there."""


class NoCheckpoint(CheckpointError):
    """Nothing was saved yet."""


class Settings(Dict[str, Any]):
    """Settings that can't be changed; what is nested can be had with dots, too."""

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
        raise JobError(f"settings from {path}: {error}") from error
    if not isinstance(settings, Settings):
        raise JobError(f"settings from {path}: a JSON object is expected")
    return settings


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
        raise JobError("these metrics can't be written: a mapping of names to values is expected")
    return {name: _plain(value) for name, value in sorted(_flatten(metrics).items())}


def _for_json(value: Any) -> Any:
    """JSON has no word for the floats that are no numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"float": name}
    return value


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync directories; their server decides when it is durable.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _temporary(directory: Path, prefix: str) -> Tuple[int, str]:
    """A new locked file: whoever gets its lock knows that its writer is dead."""
    while True:
        path = str(directory / f"{prefix}{os.urandom(6).hex()}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
        with contextlib.suppress(OSError):  # not all network file systems have locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor, path
        os.close(descriptor)  # a sweeper was faster


def _write_atomically(path: Path, content: str) -> None:
    descriptor, temporary = _temporary(path.parent, ".cu-tmp-")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def _one_line_csv(cells: Mapping[str, Any]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=sorted(cells))
    writer.writeheader()
    writer.writerow(dict(cells))
    return text.getvalue()


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
        own = _peer(one)  # `os.geteuid()` is not to be relied on: fakeroot says 0
    user, trusted = _peer(connected), {0, own}
    if own == 0:
        with contextlib.suppress(OSError):
            trusted.add(os.stat(os.environ.get("CU_RUN_DIR", "")).st_uid)
    if user not in trusted:
        raise PermissionError(f"user {user} listens there, not our supervisor")


class _Link:
    """The Unix socket to the supervisor: one JSON line asks, one answers, in order."""

    def __init__(self, path: Optional[str]) -> None:
        self._path = path
        self._socket: Optional[socket.socket] = None
        self._given_up = False
        self._received = bytearray()
        self._searched = 0  # bytes of these that hold no end of a line
        self._unanswered: List[str] = []
        self._lock = threading.RLock()
        self.wish: Any = None

    def announce(self, kind: str, content: Any) -> None:
        """Says something without waiting. What can't be said is complained about once."""
        with self._lock, self._complaining():
            if len(self._unanswered) < 256:
                self._write({"say": {kind: content}}, kind)
            self._take_answers(0.0)

    def say(self, kind: str, content: Any) -> None:
        """Says something, and waits until the supervisor has taken note."""
        if self._path is None:
            return
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
                    f"the supervisor at {self._path} did not take note of the {kind}: {error}"
                ) from error
        if isinstance(answer, dict) and "refused" in answer:
            raise JobError(f"the supervisor refused the {kind}: {answer['refused']}")

    def ask_for_wish(self, patience: float) -> Any:
        """Why the supervisor wants this program to exit, None if it does not."""
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
                    "on, and its last message will be tried again"
                )
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


def _complain(text: str) -> None:
    print(f"cu_job: {text}", file=sys.stderr, flush=True)


_HEADER = struct.Struct("<8sHBxIQQI24xI")
_MAGIC = b"\x89CUCKP\r\n"
_VERSION, _STREAM = 1, 2
_CHECKPOINT = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.checkpoint")


class _Damaged(Exception):
    pass


class _Checkpoints:
    """Checkpoints in the format of the Rust crate cu-checkpoint, those that are streams of bytes: a
    header with the generation (attempt, counter), length and checksum, then the bytes."""

    def __init__(self, directory: Path, attempt: int, keep: int) -> None:
        self._directory = directory
        self._attempt = attempt
        self._keep = keep
        self._is_swept = False

    def generations(self) -> List[Tuple[int, int]]:
        """(attempt, counter) of all there are, newest first."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        found = [match for match in map(_CHECKPOINT.fullmatch, names) if match]
        return sorted(((int(match[1]), int(match[2])) for match in found), reverse=True)

    def _path(self, generation: Tuple[int, int]) -> Path:
        return self._directory / "{}.{}.checkpoint".format(*generation)

    def _sweep(self) -> None:
        """Removes the files of dead writers."""
        for name in os.listdir(self._directory):
            path = self._directory / name
            if name.startswith(".cu-tmp-") and path.is_file():
                with contextlib.suppress(OSError), open(path, "rb+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
        self._is_swept = True

    @contextlib.contextmanager
    def writer(self) -> Iterator[IO[bytes]]:
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._is_swept:
            # Its creator may have died before this.
            _sync_directory(self._directory.parent)
            self._sweep()
        descriptor, temporary = _temporary(self._directory, f".cu-tmp-{self._attempt}-")
        try:
            with open(descriptor, "wb", buffering=0) as file:
                file.write(bytes(_HEADER.size))
                raw = _Writer(file)
                buffered = io.BufferedWriter(raw, 1 << 20)
                yield buffered
                if not buffered.closed:
                    buffered.flush()
                self._publish(file, raw, temporary)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _publish(self, file: io.FileIO, raw: _Writer, temporary: str) -> None:
        while True:
            present = self.generations()
            mine = [counter for attempt, counter in present if attempt == self._attempt]
            saved = (self._attempt, mine[0] + 1 if mine else 0)
            fields = (_MAGIC, _VERSION, _STREAM, *saved, raw.length, raw.checksum)
            start = _HEADER.pack(*fields, 0)[:-4]
            file.seek(0)
            file.write(start + struct.pack("<I", zlib.crc32(start)))
            os.fsync(file.fileno())
            try:
                os.link(temporary, self._path(saved))  # unlike a rename it replaces nothing
                break
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                os.rename(temporary, self._path(saved))
                break
        _sync_directory(self._directory)
        older = [generation for generation in present if generation < saved]
        for generation in older[self._keep - 1 :]:
            with contextlib.suppress(OSError):  # a directory of another door's, or gone
                os.unlink(self._path(generation))

    def reader(self) -> io.BufferedReader:
        for _ in range(100):
            generations, skipped = self.generations(), []
            for generation in generations:
                path = self._path(generation)
                try:
                    opened = self._open(path, generation)
                except _Damaged as damage:
                    skipped.append(f"{path}: {damage}")
                except FileNotFoundError:
                    break  # removed meanwhile, since a newer one is there: list again
                else:
                    for text in skipped:
                        _complain(f"passed over a damaged checkpoint, {text}")
                    return opened
            else:
                if not generations:
                    raise NoCheckpoint(f"nothing was saved in {self._directory} yet")
                raise CheckpointError("every checkpoint is damaged: " + "; ".join(skipped))
        raise CheckpointError(f"{self._directory}: they are removed faster than they can be read")

    def _open(self, path: Path, generation: Tuple[int, int]) -> io.BufferedReader:
        if path.is_dir():
            raise CheckpointError(f"{path} is a directory checkpoint, not a stream")
        file = open(path, "rb", buffering=0)
        try:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise _Damaged("ends within its header")
            magic, version, form, attempt, counter, length, checksum, own = _HEADER.unpack(header)
            if magic != _MAGIC:
                raise _Damaged("does not start like a checkpoint")
            if zlib.crc32(header[:-4]) != own:
                raise _Damaged("wrong checksum of the header")
            if version > _VERSION:
                raise CheckpointError(f"{path} was written in a newer format ({version})")
            if (attempt, counter) != generation:
                raise _Damaged(f"was written as generation {attempt}.{counter}")
            if os.fstat(file.fileno()).st_size != _HEADER.size + length:
                raise _Damaged(f"not {_HEADER.size + length} bytes long")
            measured = 0
            for piece in iter(lambda: file.read(1 << 20), b""):
                measured = zlib.crc32(piece, measured)
            if measured != checksum:
                raise _Damaged("wrong checksum")
            if form != _STREAM:
                raise CheckpointError(f"{path} is a value that a Rust program saved, not a stream")
            return io.BufferedReader(_Reader(file, length))
        except BaseException:
            file.close()
            raise


class _Writer(io.RawIOBase):
    """The payload of a checkpoint being written; it can't be sought in."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.length = 0
        self.checksum = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._file.closed:
            return len(data)  # what was left in the buffer of a checkpoint that was given up
        written = self._file.write(data)
        self.checksum = zlib.crc32(memoryview(data)[:written], self.checksum)
        self.length += written
        return written


class _Reader(io.RawIOBase):
    """The payload of a verified checkpoint; its first byte is at position 0."""

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


class Job:
    """One job: made at the start of the program, ended by `finalize` or `exit_for_resume`.

    As a context manager it reports an exception that leaves the block as the job's failure.
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

        `settings_file` and `output_dir` count only without a supervisor.
        """
        environment = {name: value for name, value in os.environ.items() if value}
        self._link = _Link(environment.get("CU_SOCKET"))
        self._reported = False
        if report_exceptions:
            self._print_exception = sys.excepthook
            sys.excepthook = self._report_uncaught
        source = environment.get("CU_SETTINGS") or settings_file or _settings_argument()
        self._settings_file = Path(source) if source is not None else None
        self.settings = _read_settings(str(source) if source is not None else None)
        self.output_dir = Path(environment.get("CU_OUTPUT_DIR") or output_dir or ".")
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
        self._signal: Optional[int] = None
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
        if note_signals and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
                self._note(number)
        if "CU_SOCKET" not in environment:
            _complain(
                "no supervisor (CU_SOCKET is not set): settings come from "
                f"{source or 'nowhere'}, results go to {self.output_dir}, and nobody is told"
            )

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is not None and error is not None and not issubclass(kind, SystemExit):
            self._report(kind, error, trace)

    def exit_after_steps(self, count: int) -> None:
        """Lets `should_exit` say yes when it is asked for the `count`-th time."""
        self._after_steps = count

    def exit_after(self, seconds: float) -> None:
        """Lets `should_exit` say yes so long after the job was made."""
        self._after = seconds

    def exit_before_limit(self, seconds: float) -> None:
        """Keeps so much time free before the scheduler's time limit, and the longest time between
        two questions. Otherwise it is three times the slowest save, and at least 10 seconds."""
        self._margin = seconds

    def save_every(self, seconds: float) -> None:
        """Lets `should_save` say yes so long after the last save, instead of 10 minutes; but so
        that saves take at most a twentieth of the time."""
        self._save_every = seconds

    def should_exit(self) -> bool:
        """Whether to save and call `exit_for_resume`: because of the criteria above, the time
        limit, the stop file, a signal, or the operator's wish. Once yes, it stays yes; the reason
        is in `exit_reason`. Cheap enough for every step."""
        now = time.monotonic()
        self._questions += 1
        if self._last_question is not None:
            self._longest_step = max(self._longest_step, now - self._last_question)
        self._last_question = now
        if self.exit_reason is None:
            self.exit_reason = self._cause(now)
        return self.exit_reason is not None

    def _cause(self, now: float) -> Optional[str]:
        if self._signal is not None:
            return f"signal {self._signal}"
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
        """Whether it is time for a periodic save. These are what makes a job survive a crash."""
        interval = max(self._save_every, _SHARE_OF_SAVES * self._longest_save)
        return time.monotonic() - self._last_save >= interval

    @contextlib.contextmanager
    def checkpoint_writer(self) -> Iterator[IO[bytes]]:
        """A file to write a checkpoint to. It is durable when the block ends; if that raises, there
        is no trace of it. The file can't be sought in."""
        begun = time.monotonic()
        try:
            with self._checkpoints.writer() as file:
                yield file
        except OSError as error:
            raise CheckpointError(f"can't save in {self.output_dir}/checkpoints: {error}") from error
        self._last_save = time.monotonic()
        self._longest_save = max(self._longest_save, self._last_save - begun)

    def checkpoint_reader(self) -> io.BufferedReader:
        """The newest intact checkpoint as a file, verified before the first byte is handed out.
        Damaged ones are passed over, and named on standard error. Raises `NoCheckpoint` if nothing
        was saved yet, `CheckpointError` if all are damaged or the newest is of another kind."""
        return self._checkpoints.reader()

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
        """Announces how much of the whole job is done, from 0 to 1. May be called at every step: at
        most ten a second are sent, the last one always."""
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
        """Announces metrics before the end. The latest counts, name by name."""
        plain = {name: _for_json(value) for name, value in _metrics(metrics).items()}
        self._link.announce("early_metrics", plain)

    def exit_for_resume(self) -> NoReturn:
        """Asks to be submitted again, with the same settings and the same output directory, and
        ends the process with exit code 3. Save before."""
        self._send_fraction()
        newest = self._checkpoints.generations()[:1]
        checkpoint = [{"attempt": attempt, "counter": counter} for attempt, counter in newest]
        try:
            self._link.say("resume_request", {"checkpoint": checkpoint[0] if checkpoint else None})
        except JobError as error:
            _complain(f"{error}; the exit code {RESUME_EXIT_CODE} says the same")
        if threading.current_thread() is threading.main_thread():
            sys.exit(RESUME_EXIT_CODE)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(RESUME_EXIT_CODE)  # in another thread `sys.exit` ends just that thread

    def finalize(self, metrics: Mapping[str, Any]) -> None:
        """Ends the job with its results: writes `settings.json`, `param_choice.csv` and
        `metrics.csv` into the output directory, each as a whole, and tells the supervisor.

        What is nested gets dotted names. `time_elapsed`, the seconds since the job was made in this
        attempt, is added unless the metrics have it. What earlier attempts took is not in it:
        whoever wants the sum keeps it in the checkpoint, and the times of each attempt are in
        `cu show JOB`."""
        results = _metrics(metrics)
        results.setdefault("time_elapsed", time.monotonic() - self._started)
        target = self.output_dir / "settings.json"
        given = self._settings_file
        if given is None or not target.exists() or not given.samefile(target):
            _write_atomically(target, json.dumps(self.settings, sort_keys=True, indent=4))
        _write_atomically(
            self.output_dir / "param_choice.csv", _one_line_csv(_flatten(self.settings))
        )
        _write_atomically(self.output_dir / "metrics.csv", _one_line_csv(results))
        self._send_fraction()
        plain = {name: _for_json(value) for name, value in results.items()}
        self._link.say("results", plain)

    def _note(self, number: signal.Signals) -> None:
        """Notes a signal from now on."""
        before = signal.getsignal(number)
        ends = number in (signal.SIGTERM, signal.SIGINT)
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL

        def handler(received: int, frame: Optional[FrameType]) -> None:
            if ends and self._signal == received and before == default:
                # The second one: the program does not ask whether it should exit.
                signal.signal(number, default)
                os.kill(os.getpid(), number)
            self._signal = received
            if callable(before) and before is not signal.default_int_handler:
                before(received, frame)

        signal.signal(number, handler)

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
        if not self._reported:
            self._reported = True
            text = "".join(traceback.format_exception(kind, error, trace))
            try:
                self._link.say("failed", {"text": text[-_LONGEST_TEXT:]})
            except JobError as unheard:
                _complain(str(unheard))


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


_current: Optional[Job] = None


def _job() -> Job:
    if _current is None:
        raise JobError("call initialize_job first")
    return _current


def initialize_job(cmd_line: Optional[List[str]] = None, verbose: bool = False) -> Settings:
    """Makes the job of this process, and returns its settings, with `working_dir` and `id`."""
    global _current
    settings_file = cmd_line[1] if cmd_line and len(cmd_line) > 1 else None
    _current = job = Job(settings_file)
    settings = Settings({"working_dir": str(job.output_dir), "id": job.id, **job.settings})
    if verbose:
        print(json.dumps(settings, sort_keys=True, indent=4))
    return settings


def finalize_job(metrics: Mapping[str, Any], params: Optional[Mapping[str, Any]] = None) -> None:
    """As `Job.finalize`. `params` is what `initialize_job` returned, and needs not be given."""
    _job().finalize(metrics)


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


def cluster_main(main_function: Callable[..., Mapping[str, Any]]) -> Callable[[], Mapping[str, Any]]:
    """Makes a program of a function that takes the settings by name and returns the metrics.

    It gets `working_dir` and `id`, too, if it has parameters of these names."""

    @functools.wraps(main_function)
    def wrapper() -> Mapping[str, Any]:
        settings = initialize_job()
        wanted = inspect.signature(main_function).parameters.values()
        names = {parameter.name for parameter in wanted}
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted)
        given = _job().settings
        metrics = main_function(
            **{k: v for k, v in settings.items() if takes_all or k in given or k in names}
        )
        finalize_job(metrics)
        return metrics

    return wrapper
