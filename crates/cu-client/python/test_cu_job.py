"""Tests of cu_job.py: a supervisor made for the test, real processes, and real files.

Run with any Python from 3.8 on: `python3 -m unittest test_cu_job` in this directory.
"""

import contextlib
import copy
import errno
import io
import json
import os
import pickle
import queue
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
import zipfile
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
        self._answer = answer or (lambda request: None)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / "socket"))
        self._listener.listen(16)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rwb") as file:
            for line in file:
                request = json.loads(line)
                if request != "should_exit":
                    self.heard.put(request["say"])
                answer = self._answer(request)
                if answer == "die":
                    return
                usual = {"should_exit": None} if request == "should_exit" else "noted"
                with contextlib.suppress(OSError):
                    file.write(json.dumps(answer or usual).encode() + b"\n")
                    file.flush()

    def message(self):
        return self.heard.get(timeout=BOUND)

    def messages(self):
        """What was heard and not asked for yet."""
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
        """A job in this process, quiet about the lack of a supervisor."""
        if attempt is not None:
            os.environ["CU_ATTEMPT"] = str(attempt)
        options = {"note_signals": False, "report_exceptions": False, **options}
        with contextlib.redirect_stderr(io.StringIO()):
            return cu_job.Job(output_dir=self.directory, **options)

    def start(self, program, *arguments):
        """Starts a program that has imported cu_job."""
        text = "import cu_job, os, signal, sys, threading, time\n" + textwrap.dedent(program)
        process = subprocess.Popen(
            [sys.executable, "-c", text, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        self.addCleanup(process.kill)
        return process

    def end(self, process):
        """(exit code, stderr)"""
        out, err = process.communicate(timeout=BOUND)
        self.addCleanup(process.wait)
        return process.returncode, out + err


class Checkpoints(Case):
    def test_bytes_and_json_come_back(self):
        job = self.job()
        self.assertIsNone(job.load_bytes())
        self.assertEqual(job.load_json({"step": 0}), {"step": 0})
        job.save_bytes(b"\x00\xff" * 1_000_000)
        self.assertEqual(self.job().load_bytes(), b"\x00\xff" * 1_000_000)
        job.save_json({"step": 1})
        self.assertEqual(self.job().load_json(), {"step": 1})

    def test_whoever_writes_to_files_can_write_here(self):
        job = self.job()
        with job.checkpoint_writer() as file:
            pickle.dump({"weights": list(range(1000))}, file)
        with job.checkpoint_reader() as file:
            self.assertEqual(pickle.load(file)["weights"][999], 999)
        with job.checkpoint_writer() as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr("weights", b"w" * 10_000)
            archive.writestr("moments", b"m")
        with job.checkpoint_reader() as file, zipfile.ZipFile(file) as archive:
            self.assertEqual(archive.read("weights"), b"w" * 10_000)
            self.assertIsNone(archive.testzip())
        with job.checkpoint_writer() as file:
            text = io.TextIOWrapper(file, encoding="utf-8")
            text.write("ü")
            text.close()
        with job.checkpoint_reader() as file:
            self.assertEqual(file.read(), "ü".encode())
            self.assertEqual(file.seek(-1, os.SEEK_END), 1)
            self.assertEqual(file.read(), "ü".encode()[1:])

    def test_an_exception_leaves_no_trace(self):
        job = self.job()
        job.save_json(1)
        with self.assertRaises(ZeroDivisionError), job.checkpoint_writer() as file:
            file.write(b"half")
            1 / 0
        self.assertEqual(job.load_json(), 1)
        self.assertEqual(os.listdir(self.directory / "checkpoints"), ["0.0.checkpoint"])

    def test_the_newest_two_are_kept_and_an_old_attempt_shadows_nobody(self):
        job, zombie = self.job(attempt=2), self.job(attempt=1)
        for step in range(4):
            job.save_json(step)
        zombie.save_json("zombie")
        names = sorted(os.listdir(self.directory / "checkpoints"))
        self.assertEqual(names, ["1.0.checkpoint", "2.2.checkpoint", "2.3.checkpoint"])
        self.assertEqual(self.job(attempt=3).load_json(), 3)

    def test_damage_anywhere_is_seen_and_passed_over(self):
        job = self.job()
        job.save_json("before")
        job.save_json("newest")
        path = self.directory / "checkpoints" / "0.1.checkpoint"
        intact = path.read_bytes()
        for damaged in [b"", intact[:63], intact[:-1], intact + b"x"] + [
            intact[:place] + bytes([intact[place] ^ 1]) + intact[place + 1 :]
            for place in range(len(intact))
        ]:
            path.write_bytes(damaged)
            with contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(job.load_json(), "before")
            self.assertIn("0.1.checkpoint", said.getvalue())
        (self.directory / "checkpoints" / "0.0.checkpoint").write_bytes(b"")
        with self.assertRaisesRegex(cu_job.CheckpointError, "0.0.checkpoint"):
            job.load_json()

    def test_what_the_dead_left_is_removed_and_the_living_are_left_alone(self):
        self.job(attempt=0).save_json(0)
        directory = self.directory / "checkpoints"
        (directory / ".cu-tmp-0-dead").write_bytes(b"half")
        with self.job(attempt=1).checkpoint_writer() as file:
            file.write(b"1")
            self.assertFalse((directory / ".cu-tmp-0-dead").exists())
            self.job(attempt=2).save_json(2)
            self.assertEqual(len(list(directory.glob(".cu-tmp-1-*"))), 1)
        self.assertEqual(list(directory.glob(".cu-tmp-*")), [])

    def test_where_directories_cannot_be_synced_checkpoints_are_saved_all_the_same(self):
        sync = os.fsync

        def sync_files_only(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            sync(descriptor)

        with mock.patch("os.fsync", sync_files_only):
            self.job().save_bytes(b"saved")
        self.assertEqual(self.job().load_bytes(), b"saved")

    def test_the_directory_of_the_checkpoints_is_durable_before_they_are(self):
        sync = os.fsync
        synced = []

        def sync_and_note(descriptor):
            synced.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
            sync(descriptor)

        with mock.patch("os.fsync", sync_and_note):
            self.job().save_bytes(b"saved")
        output = os.path.realpath(self.directory)
        self.assertEqual(synced[0], output)
        self.assertEqual(synced[-1], os.path.join(output, "checkpoints"))

    def test_what_cannot_be_saved_is_named(self):
        (self.directory / "checkpoints").write_text("in the way")
        with self.assertRaisesRegex(cu_job.CheckpointError, "checkpoints"):
            self.job().save_json(1)


class Results(Case):
    SETTINGS = (
        '{"seed": 1, "b": {"rate": 1e-5, "on": true}, "a": ["x", 1.0], '
        '"name": "ü, \\"v\\"", "no": null}'
    )

    def test_the_files_are_as_everywhere(self):
        given = self.directory / "given.json"
        given.write_text(self.SETTINGS, encoding="utf-8")
        self.job(settings_file=given).finalize({"loss": float("nan"), "accuracy": 0.925})
        read = lambda name: (self.directory / name).read_bytes().decode()
        self.assertRegex(
            read("metrics.csv"), r"\Aaccuracy,loss,time_elapsed\r\n0.925,nan,[0-9.e-]+\r\n\Z"
        )
        self.assertEqual(
            read("param_choice.csv"),
            "a,b.on,b.rate,name,no,seed\r\n\"['x', 1.0]\",True,1e-05,\"ü, \"\"v\"\"\",,1\r\n",
        )
        settings = json.loads(self.SETTINGS)
        self.assertEqual(read("settings.json"), json.dumps(settings, indent=4, sort_keys=True))

    def test_a_reader_never_sees_half_a_file(self):
        file, lengths = self.directory / "metrics.csv", set()
        write = lambda length: self.job().finalize({"text": "x" * length, "time_elapsed": 0})
        whole = [len("text,time_elapsed") + length + len(",0") + 4 for length in (10**5, 10**6)]
        write(10**5)
        is_over = threading.Event()

        def read():
            while not is_over.is_set():
                lengths.add(file.stat().st_size)

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(20):
            write(10**6)
            write(10**5)
        is_over.set()
        reader.join(BOUND)
        self.assertLessEqual(lengths, set(whole))

    def test_the_file_that_the_settings_come_from_is_left_alone(self):
        given = self.directory / "settings.json"
        given.write_text('{ "seed":1 }')
        self.job(settings_file=given).finalize({})
        self.assertEqual(given.read_text(), '{ "seed":1 }')

    def test_numbers_of_numpy_and_torch_become_numbers(self):
        class Scalar:
            def item(self):
                return 0.5

        class Array:
            def item(self):
                raise ValueError("not one element")

            def __str__(self):
                return "[1 2]"

        self.job().finalize({"loss": {"train": Scalar()}, "all": Array(), "time_elapsed": (1, 2)})
        with open(self.directory / "metrics.csv", newline="") as file:
            self.assertEqual(
                file.read(), 'all,loss.train,time_elapsed\r\n[1 2],0.5,"[1, 2]"\r\n'
            )

    def test_something_without_names_is_refused_before_anything_is_written(self):
        with self.assertRaises(cu_job.JobError):
            self.job().finalize(0.5)
        self.assertFalse((self.directory / "metrics.csv").exists())


class WithSupervisor(Case):
    def test_it_hears_everything_in_order(self):
        supervisor = self.supervisor()
        supervisor.settings.write_text('{"seed": 1}')
        job = self.job()
        self.assertEqual((job.id, job.attempt, job.settings.seed), (7, 3, 1))
        self.assertEqual(job.output_dir, supervisor.output)
        for step in range(1001):
            job.announce_fraction_finished(step / 1000)
        job.announce_fraction_finished(float("nan"))
        job.announce_early_results({"loss": {"train": float("inf")}})
        job.finalize({"accuracy": 0.925, "loss": float("nan")})
        heard = supervisor.messages()
        fractions = [message["progress"] for message in heard if "progress" in message]
        self.assertEqual((fractions[0], fractions[-1]), (0.0, 1.0))
        self.assertLess(len(fractions), 500)
        self.assertIn({"early_metrics": {"loss.train": {"float": "Infinity"}}}, heard)
        results = heard[-1]["results"]
        self.assertEqual(results["accuracy"], 0.925)
        self.assertEqual(results["loss"], {"float": "NaN"})
        self.assertIn("time_elapsed", results)

    def test_exit_for_resume_names_the_checkpoint(self):
        supervisor = self.supervisor()
        program = "with cu_job.Job() as job: job.save_json(1); job.exit_for_resume()"
        for counter in range(2):
            code, output = self.end(self.start(program))
            self.assertEqual((code, output), (3, ""))
            checkpoint = {"attempt": 3, "counter": counter}
            self.assertEqual(
                supervisor.messages(), [{"resume_request": {"checkpoint": checkpoint}}]
            )

    def test_from_another_thread_the_whole_process_exits(self):
        supervisor = self.supervisor()
        program = """
            job = cu_job.Job()
            threading.Thread(target=job.exit_for_resume).start()
            threading.Event().wait()
        """
        self.assertEqual(self.end(self.start(program))[0], 3)
        self.assertEqual(supervisor.messages(), [{"resume_request": {"checkpoint": None}}])

    def test_exceptions_are_reported(self):
        for program in [
            "cu_job.Job(); 1 / 0",
            "with cu_job.Job(): 1 / 0",
            "cu_job.initialize_job(); 1 / 0",
        ]:
            with self.subTest(program), tempfile.TemporaryDirectory() as scratch:
                self.directory = Path(scratch)
                supervisor = self.supervisor()
                code, output = self.end(self.start(program))
                self.assertEqual(code, 1)
                self.assertIn("ZeroDivisionError", output)
                [message] = supervisor.messages()
                self.assertIn("ZeroDivisionError", message["failed"]["text"])

    def test_settings_that_do_not_fit_are_reported(self):
        supervisor = self.supervisor()
        supervisor.settings.write_text("[1]")
        self.assertEqual(self.end(self.start("cu_job.Job()"))[0], 1)
        text = supervisor.message()["failed"]["text"]
        self.assertIn(str(supervisor.settings), text)

    def test_it_may_die_and_nobody_stops(self):
        supervisor = self.supervisor(lambda request: "die")
        job = self.job()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            for step in range(5):
                job.announce_early_results({"step": step})
                self.assertFalse(job.should_exit())
            with self.assertRaisesRegex(cu_job.JobError, "did not take note of the results"):
                job.finalize({"done": True})
        self.assertEqual(said.getvalue().count("can't be reached"), 1)
        self.assertTrue((supervisor.output / "metrics.csv").exists())

    def test_a_refusal_is_an_error_where_it_matters(self):
        self.supervisor(lambda request: {"refused": "not today"})
        with self.assertRaisesRegex(cu_job.JobError, "refused the results: not today"):
            self.job().finalize({})

    def test_refused_early_results_are_complained_about_at_the_end_at_the_latest(self):
        def answer(request):
            if request != "should_exit" and "early_metrics" in request["say"]:
                return {"refused": "too many"}
            return None

        self.supervisor(answer)
        job = self.job()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            job.announce_early_results({"loss": 1})
            job.finalize({})
        self.assertIn("refused the early_metrics: too many", said.getvalue())

    def test_an_answer_without_an_end_is_not_read_for_ever(self):
        self.supervisor(lambda request: {"refused": "x" * (2 << 20)})
        with self.assertRaisesRegex(cu_job.JobError, "its answer has no end"):
            self.job().finalize({})


class OfAnotherUser(unittest.TestCase):
    def test_what_listens_in_the_place_of_the_supervisor_hears_nothing(self):
        if os.geteuid() != 0:
            if os.environ.get("CU_TESTS_UNPRIVILEGED") != "1":
                self.fail("run the tests as root, or set CU_TESTS_UNPRIVILEGED=1")
            self.skipTest("only root can listen as another user")
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
            path = str(Path(directory) / "socket")
            listener.bind(path)
            os.seteuid(65534)  # who listens is noted then
            listener.listen(16)
            os.seteuid(0)
            listener.settimeout(BOUND)
            with mock.patch.dict(os.environ, {"CU_RUN_DIR": directory}):
                with self.assertRaisesRegex(cu_job.JobError, "user 65534 listens there"):
                    cu_job._Link(path).say("results", {"accuracy": 0.5})
                connection, _ = listener.accept()
                with connection:
                    self.assertEqual(connection.recv(1), b"")
                # Unless a user's program has become root, and his supervisor listens.
                os.chown(directory, 65534, -1)
                with socket.socket(socket.AF_UNIX) as connected:
                    connected.connect(path)
                    cu_job._trust(connected)


class ShouldExit(Case):
    def test_after_steps(self):
        job = self.job()
        job.exit_after_steps(3)
        self.assertEqual([job.should_exit() for _ in range(4)], [False, False, True, True])
        self.assertEqual(job.exit_reason, "steps")

    def test_after_a_time(self):
        job = self.job()
        job.exit_after(3600)
        self.assertFalse(job.should_exit())
        job.exit_after(0)
        self.assertTrue(job.should_exit())
        self.assertEqual(job.exit_reason, "time_budget")

    def test_before_the_time_limit(self):
        os.environ["CU_DEADLINE"] = str(int(time.time()) + 100)
        job = self.job()
        self.assertFalse(job.should_exit())
        job.exit_before_limit(200)
        self.assertTrue(job.should_exit())
        self.assertEqual(job.exit_reason, "time_limit")
        os.environ["CU_DEADLINE"] = str(int(time.time()) + 5)
        self.assertTrue(self.job().should_exit())

    def test_when_the_stop_file_exists(self):
        supervisor = self.supervisor()
        self.assertFalse(self.job().should_exit())
        supervisor.stop_file.touch()
        job = self.job()
        self.assertTrue(job.should_exit())
        self.assertEqual(job.exit_reason, "stop_file")

    def test_when_the_supervisor_wishes_it(self):
        wishes = {'"operator"': "operator", '{"signal": 10}': "signal 10"}
        for wish, reason in wishes.items():
            with self.subTest(wish), tempfile.TemporaryDirectory() as scratch:
                self.directory = Path(scratch)
                self.supervisor(lambda request: {"should_exit": json.loads(wish)})
                job = self.job()
                self.assertTrue(job.should_exit())
                self.assertEqual(job.exit_reason, reason)

    LOOP = """
        came = []
        signal.signal(signal.SIGUSR1, lambda *_: came.append("before"))
        job = cu_job.Job()
        print("ready", flush=True)
        begun = time.monotonic()
        while not job.should_exit():
            assert time.monotonic() - begun < 60
        print(job.exit_reason, *came)
        job.exit_for_resume()
    """

    def test_when_a_signal_came_and_handlers_of_before_still_run(self):
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            process = self.start(self.LOOP)
            self.assertEqual(process.stdout.readline(), "ready\n")
            process.send_signal(number)
            code, output = self.end(process)
            self.assertEqual(code, 3, output)
            before = " before" if number == signal.SIGUSR1 else ""
            self.assertIn(f"signal {int(number)}{before}\n", output)

    def test_a_second_signal_ends_a_program_that_never_asks(self):
        for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)):
            process = self.start("cu_job.Job(); print('ready', flush=True); threading.Event().wait()")
            self.assertEqual(process.stdout.readline(), "ready\n")
            begun = time.monotonic()
            while process.poll() is None:  # several, since signals that wait together are one
                process.send_signal(number)
                self.assertLess(time.monotonic() - begun, BOUND)
            self.assertEqual(self.end(process)[0], code)

    def test_saves_are_due_by_the_clock(self):
        job = self.job()
        self.assertFalse(job.should_save())
        job.save_every(0)
        self.assertTrue(job.should_save())


class ByHand(Case):
    def test_everything_works_and_says_so_once(self):
        (self.directory / "mine.json").write_text('{"steps": 2}')
        program = """
            with cu_job.Job() as job:
                step = job.load_json(0) + 1
                job.announce_fraction_finished(step / job.settings.steps)
                job.announce_early_results({"step": step})
                if step < job.settings.steps:
                    job.save_json(step)
                    job.exit_for_resume()
                job.finalize({"steps": step})
        """
        for expected in (3, 0):
            code, output = self.end(self.start(program, "mine.json"))
            self.assertEqual(code, expected, output)
            self.assertEqual(output.count("no supervisor"), 1)
        self.assertTrue((self.directory / "metrics.csv").read_text().startswith("steps,"))

    def test_a_variable_with_nonsense_is_named(self):
        os.environ["CU_ATTEMPT"] = "many"
        with self.assertRaisesRegex(cu_job.JobError, "CU_ATTEMPT is `many`"):
            self.job()


class ClusterUtils(Case):
    def test_the_names_that_its_users_know(self):
        supervisor = self.supervisor()
        supervisor.settings.write_text('{"x": 1, "nested": {"y": 2}}')
        program = """
            from cu_job import announce_early_results, announce_fraction_finished
            from cu_job import exit_for_resume, finalize_job, initialize_job
            params = initialize_job()
            assert params.working_dir == os.environ["CU_OUTPUT_DIR"] and params.id == 7
            checkpoint = os.path.join(params.working_dir, "checkpoint")
            announce_fraction_finished(0.5)
            if not os.path.exists(checkpoint):
                open(checkpoint, "w").close()
                exit_for_resume()
            metrics = {"result": params.x + params.nested.y}
            announce_early_results(metrics)
            finalize_job(metrics, params)
        """
        self.assertEqual(self.end(self.start(program)), (3, ""))
        self.assertEqual(self.end(self.start(program)), (0, ""))
        self.assertEqual(supervisor.messages()[-1]["results"]["result"], 3)
        choice = (supervisor.output / "param_choice.csv").read_text()
        self.assertEqual(choice.split(), ["nested.y,x", "2,1"])

    def test_the_decorator(self):
        supervisor = self.supervisor()
        supervisor.settings.write_text('{"x": 1, "y": 2}')
        for parameters in ("x, y", "x, y, working_dir", "**settings"):
            program = f"""
                @cu_job.cluster_main
                def main({parameters}):
                    return {{"names": ",".join(sorted(locals().get("settings", locals())))}}
                main()
            """
            self.assertEqual(self.end(self.start(program)), (0, ""))
        names = [message["results"]["names"] for message in supervisor.messages()]
        self.assertEqual(names, ["x,y", "working_dir,x,y", "id,working_dir,x,y"])

    def test_settings_cannot_be_changed_but_copied(self):
        settings = cu_job.Settings(a=1, b=cu_job.Settings(c=2))
        for change in (
            lambda: setattr(settings, "a", 2),
            lambda: settings.update(a=2),
            lambda: settings.b.pop("c"),
        ):
            with self.assertRaises(TypeError):
                change()
        self.assertEqual(pickle.loads(pickle.dumps(settings)), settings)
        self.assertEqual(copy.deepcopy(settings).b.c, 2)
        with self.assertRaises(AttributeError):
            settings.absent


if __name__ == "__main__":
    unittest.main()
