"""Tests of cu_job.py: results, the supervisor, when to exit, and the functions of cluster_utils."""

import contextlib
import copy
import io
import json
import os
import pickle
import socket
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

import cu_job
from support import BOUND, Case


class Results(Case):
    SETTINGS = (
        '{"seed": 1, "b": {"rate": 1e-5, "on": true}, "a": ["x", 1.0], '
        '"name": "ü, \\"v\\"", "no": null}'
    )

    def test_the_files_have_the_common_format(self):
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

    def test_settings_that_are_not_an_object_are_refused(self):
        given = self.directory / "list.json"
        given.write_text("[1]")
        with self.assertRaisesRegex(cu_job.JobError, "list.json: it is not a JSON object, such as"):
            self.job(settings_file=given)

    def test_metrics_without_names_are_refused_before_a_write(self):
        with self.assertRaises(cu_job.JobError):
            self.job().finalize(0.5)
        self.assertFalse((self.directory / "metrics.csv").exists())


class WithSupervisor(Case):
    def test_messages_arrive_in_order(self):
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

    def test_exit_for_resume_in_a_thread_ends_the_process(self):
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

    def test_settings_that_are_not_an_object_are_reported(self):
        supervisor = self.supervisor()
        supervisor.settings.write_text("[1]")
        self.assertEqual(self.end(self.start("cu_job.Job()"))[0], 1)
        text = supervisor.message()["failed"]["text"]
        self.assertIn(str(supervisor.settings), text)

    def test_a_dead_supervisor_does_not_stop_the_program(self):
        supervisor = self.supervisor(lambda request: "die")
        job = self.job()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            for step in range(5):
                job.announce_early_results({"step": step})
                self.assertFalse(job.should_exit())
            with self.assertRaisesRegex(cu_job.JobError, "did not confirm the results"):
                job.finalize({"done": True})
        self.assertEqual(said.getvalue().count("can't be reached"), 1)
        self.assertTrue((supervisor.output / "metrics.csv").exists())

    def test_refused_results_are_an_error(self):
        self.supervisor(lambda request: {"refused": "not today"})
        with self.assertRaisesRegex(cu_job.JobError, "refused the results: not today"):
            self.job().finalize({})

    def test_refused_early_results_are_reported_by_the_end(self):
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
    def test_another_user_in_the_supervisors_place_hears_nothing(self):
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

    def test_saves_are_due_by_the_clock(self):
        job = self.job()
        self.assertFalse(job.should_save())
        job.save_every(0)
        self.assertTrue(job.should_save())


class ByHand(Case):
    def test_every_call_works_and_one_line_says_so(self):
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

    def test_a_variable_that_is_not_a_number_is_named(self):
        os.environ["CU_ATTEMPT"] = "many"
        with self.assertRaisesRegex(cu_job.JobError, "CU_ATTEMPT is `many`"):
            self.job()


class ClusterUtils(Case):
    def test_the_functions_of_cluster_utils(self):
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
        names, values = choice.split()
        self.assertEqual(names, "x,nested.y,working_dir,id")
        self.assertEqual(values, f"1,2,{supervisor.output},7")

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

    def test_settings_can_be_copied_but_not_changed(self):
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
