"""What the tests of cu_job.py share: a supervisor made for the test, real processes, real files."""

import contextlib
import io
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
from pathlib import Path
from unittest import mock

import cu_job

BOUND = 60  # seconds; only a failing test waits for it
HERE = Path(__file__).resolve().parent


class Supervisor:
    """Listens at a Unix socket, answers as it is told, and remembers what it heard."""

    def __init__(self, directory, answer=None):
        self.directory = Path(directory)
        self.output = self.directory / "output"
        self.output.mkdir(exist_ok=True)
        self.settings = self.output / "settings.json"
        if not self.settings.exists():
            self.settings.write_text("{}")
        self.stop_file = self.directory / "stop"
        self.heard = queue.Queue()
        self.kinds = []  # of requests, for each connection
        self.has_closed = threading.Condition()
        self.open = set()
        self._answer = answer or (lambda request: None)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / "socket"))
        self._listener.listen(128)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            kinds = set()
            self.kinds.append(kinds)
            self.open.add(connection)
            arguments = (connection, kinds)
            threading.Thread(target=self._serve, args=arguments, daemon=True).start()

    def _serve(self, connection, kinds):
        try:
            with connection, connection.makefile("rwb") as file:
                for line in file:
                    request = json.loads(line)
                    kinds.update([request] if request == "should_exit" else request["say"])
                    if request != "should_exit":
                        self.heard.put(request["say"])
                    answer = self._answer(request)
                    if answer == "die":
                        return
                    usual = {"should_exit": None} if request == "should_exit" else "noted"
                    with contextlib.suppress(OSError):
                        file.write(json.dumps(answer or usual).encode() + b"\n")
                        file.flush()
        except OSError:
            pass
        finally:
            with self.has_closed:
                self.open.discard(connection)
                self.has_closed.notify_all()

    def message(self):
        return self.heard.get(timeout=BOUND)

    def messages(self):
        """The messages that were heard since the last call."""
        heard = []
        with contextlib.suppress(queue.Empty):
            while True:
                heard.append(self.heard.get_nowait())
        return heard

    def environment(self):
        return {
            "CU_JOB_ID": "7",
            "CU_ATTEMPT": "3",
            "CU_RUN_DIR": str(self.directory),
            "CU_OUTPUT_DIR": str(self.output),
            "CU_SETTINGS": str(self.settings),
            "CU_SOCKET": str(self.directory / "socket"),
            "CU_STOP_FILE": str(self.stop_file),
        }

    def close(self):
        self._listener.close()


def without_supervisor():
    return {name: value for name, value in os.environ.items() if not name.startswith("CU_")}


class Case(unittest.TestCase):
    """A test with a directory of its own, where programs and jobs find no supervisor but ours."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        clean = mock.patch.dict(os.environ, without_supervisor(), clear=True)
        clean.start()
        self.addCleanup(clean.stop)

    def supervisor(self, answer=None):
        supervisor = Supervisor(self.directory, answer)
        self.addCleanup(supervisor.close)
        os.environ.update(supervisor.environment())
        return supervisor

    def job(self, attempt=None, **options):
        """A job in this process. It does not complain that there is no supervisor."""
        if attempt is not None:
            os.environ["CU_ATTEMPT"] = str(attempt)
        options = {"note_signals": False, "report_exceptions": False, **options}
        with contextlib.redirect_stderr(io.StringIO()):
            return cu_job.Job(output_dir=self.directory, **options)

    def start(self, program, *arguments, prefix=()):
        """Starts a program that has imported cu_job. It is a file, which multiprocessing can import
        again."""
        descriptor, path = tempfile.mkstemp(suffix=".py", dir=self.directory)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("import cu_job, os, signal, sys, threading, time\n")
            file.write(textwrap.dedent(program))
        process = subprocess.Popen(
            [*prefix, sys.executable, path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            cwd=self.directory,
            env={
                **os.environ,
                "PYTHONPATH": str(HERE),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONWARNINGS": "ignore::DeprecationWarning",  # of forks beside threads
            },
            start_new_session=True,
        )
        self.addCleanup(end_all, process)
        return process

    def end(self, process, text=None):
        """Gives a program some input and waits for its end: (exit code, stdout and stderr)."""
        out, err = process.communicate(text, timeout=BOUND)
        return process.returncode, out + err


def end_all(process):
    """Ends a program with all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with process:
        process.wait()


def process_state():
    """What a job could change in this process: signals, and the number of its sockets."""
    with open("/proc/self/status") as file:
        status = [line.split() for line in file if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]
    state = {name: value for name, value in status}
    state["handlers"] = [repr(signal.getsignal(number)).split(" at ")[0] for number in range(1, 32)]
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    state["sockets"] = sum(link.startswith("socket:") for link in links)
    return state
