"""A program written for the Python package cluster_utils finds in cu_job what it had there.

CU_TEST_CLIENT=cluster_utils runs `SameAsTheirs` with the real package, which shows that the tests
ask for what it does.
"""

import contextlib
import importlib.util
import io
import json
import os
import unittest

from support import Case

CLIENT = os.environ.get("CU_TEST_CLIENT", "cu_job")


class SameAsTheirs(Case):
    def setUp(self):
        super().setUp()
        self.client = importlib.import_module(CLIENT)
        here = os.getcwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, here)

    def settings(self, *arguments, name="initialize_job", **options):
        """What a job gets from the arguments of its program."""
        if CLIENT == "cu_job":
            self.addCleanup(self.forget_the_signals)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return getattr(self.client, name)(["program", *map(str, arguments)], **options)

    def forget_the_signals(self):
        self.client._job()._signals.put_back(*self.client._NOTED)

    def file(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path

    def names(self):
        return ("initialize_job", "read_params_from_cmdline")

    def test_a_dict_on_the_command_line(self):
        for name in self.names():
            for text in ("{'a': 'b', 'deep': {'er': 13}}", '{"a": "b", "deep": {"er": 13}}'):
                settings = self.settings("--parameter-dict", text, name=name)
                self.assertEqual(settings["a"], "b")
                self.assertEqual(settings.deep["er"], 13)

    def test_constants_and_tuples_of_python(self):
        text = "{'yes': True, 'nothing': None, 'pair': (1, 2.5)}"
        settings = self.settings("--parameter-dict", text)
        self.assertEqual(settings.yes, True)
        self.assertIsNone(settings.nothing)
        self.assertEqual(settings.pair, [1, 2.5])

    def test_single_settings_after_a_dict_or_a_file(self):
        given = "{'a': 'b', 'deep': {'er': 13}}"
        file = self.file("given.json", given.replace("'", '"'))
        for name in self.names():
            for before in (["--parameter-dict", given], [file]):
                settings = self.settings(*before, "a='c'", "new=(3,)", "deep.er=1", name=name)
                self.assertEqual(settings.a, "c")
                self.assertEqual(settings.deep.er, 1)
                self.assertEqual(list(settings.new), [3])

    def test_files_of_each_kind(self):
        optional = {"yaml": ["yaml"], "yml": ["yaml"], "toml": ["tomllib", "tomli"]}
        for name in self.names():
            for kind, text in {
                "json": '{"a": 1, "deep": {"er": [1, 2.5]}}',
                "yaml": "a: 1\ndeep: {er: [1, 2.5]}\n",
                "yml": "a: 1\ndeep:\n  er: [1, 2.5]\n",
                "toml": "a = 1\n[deep]\ner = [1, 2.5]\n",
            }.items():
                file = self.file(f"given.{kind}", text)
                libraries = optional.get(kind)
                if libraries and not any(map(importlib.util.find_spec, libraries)):
                    with self.assertRaisesRegex(ValueError, "run `pip install"):
                        self.settings(file, name=name)
                    continue
                settings = self.settings(file, name=name)
                self.assertEqual(settings.a, 1, kind)
                self.assertEqual(settings.deep.er, [1, 2.5], kind)

    def test_what_cannot_be_read_is_refused(self):
        given = self.file("given.json", '{"a": 1, "name": "x"}')
        twice = self.file("twice.json", '{"a": 1, "a": 2}')
        reserved = self.file("reserved.json", '{"_id": 1}')
        date = self.file("date.toml", "a = 2020-01-01\n")
        self.file("given.ini", "a = 1")
        for arguments, error in (
            (["{'a': 1}"], FileNotFoundError),
            (["missing.json"], FileNotFoundError),
            (["given.ini"], Exception),
            ([twice], Exception),
            ([reserved], Exception),
            ([date], Exception),
            (["--parameter-dict", "'text'"], ValueError),
            (["--parameter-dict", "[1]"], ValueError),
            (["--parameter-dict", "{'a': "], Exception),
            (["--parameter-dict", "{'a': print}"], ValueError),
            ([given, "word"], Exception),
            ([given, "name=word"], Exception),
            ([given, "other.name=1"], Exception),
            ([given, "name.deep=1"], Exception),
            ([given, "--unknown"], SystemExit),
            (["--cluster-utils-server=127.0.0.1:9", given], SystemExit),
            (["--job-id=1", "--cluster-utils-server=nowhere", given], SystemExit),
            (["--job-id=x", given], SystemExit),
        ):
            for name in self.names():
                with self.subTest(arguments=arguments), self.assertRaises(error):
                    self.settings(*arguments, name=name)

    def test_the_working_directory_is_made_and_gets_the_settings(self):
        given = {"deep.er": 1, "on": False, "working_dir": str(self.directory / "made" / "here")}
        file = self.file("given.json", json.dumps(given))
        for name in self.names():
            settings = self.settings(file, name=name, verbose=False)
            self.assertEqual(settings.working_dir, given["working_dir"])
            written = self.directory / "made" / "here" / "settings.json"
            self.assertEqual(json.loads(written.read_text())["on"], False)
            written.unlink()

    def test_results_lie_in_the_working_directory(self):
        file = self.file("given.json", '{"z": 1, "a": {"c": 2}, "id": 3, "working_dir": "out"}')
        for name in ("finalize_job", "save_metrics_params"):
            settings = self.settings(file)
            settings.update(added=7)
            metrics = {"loss": 1.5, "accuracy": 2}
            with contextlib.redirect_stderr(io.StringIO()):
                getattr(self.client, name)(metrics, settings)
            self.assertEqual(list(metrics), ["loss", "accuracy", "time_elapsed"])
            names = (self.directory / "out" / "metrics.csv").read_text().splitlines()[0]
            self.assertEqual(names, "loss,accuracy,time_elapsed")
            names, values = (self.directory / "out" / "param_choice.csv").read_text().splitlines()
            self.assertEqual(sorted(names.split(",")), ["a.c", "added", "id", "working_dir", "z"])
            self.assertEqual(names.split(",")[:2], ["z", "a.c"])

    def test_settings_change_only_by_their_methods(self):
        settings = self.settings("--parameter-dict", "{'a': 1, 'deep': {'er': 2}}")
        for change in (
            lambda: settings.__setitem__("a", 2),
            lambda: setattr(settings, "a", 2),
            lambda: settings.__delitem__("a"),
            lambda: settings.deep.__setitem__("er", 3),
        ):
            with self.assertRaises(TypeError):
                change()
        settings.update(new=1)
        self.assertEqual(settings.setdefault("newer", 2), 2)
        self.assertEqual(settings.pop("new"), 1)
        with self.assertRaises(AttributeError):
            settings.new
        copied = settings._mutable_copy()
        copied.deep.er, copied["b"], copied.c = 3, 4, 5
        self.assertEqual((copied["deep"]["er"], copied.b, copied["c"]), (3, 4, 5))
        self.assertEqual(settings.deep.er, 2)

    def test_the_decorator_with_and_without_arguments(self):
        for decorator in ("@client.cluster_main", "@client.cluster_main(verbose=False)"):
            program = f"""
                import importlib
                client = importlib.import_module("{CLIENT}")
                {decorator}
                def main(a, working_dir, deep, **rest):
                    return {{"sum": a + deep.er}}
                result = main()
                assert result["sum"] == 3 and "time_elapsed" in result, result
            """
            file = self.file("given.json", '{"a": 1, "deep": {"er": 2}, "working_dir": "out"}')
            code, said = self.end(self.start(program, str(file)))
            self.assertEqual(code, 0, said)
            names = (self.directory / "out" / "metrics.csv").read_text().splitlines()[0]
            self.assertEqual(names, "sum,time_elapsed")

    def test_the_help_names_the_arguments(self):
        code, said = self.end(
            self.start(f"import {CLIENT} as client; client.initialize_job()", "--help")
        )
        self.assertEqual(code, 0, said)
        self.assertIn("--parameter-dict", said)

    def test_what_is_no_longer_possible_is_refused(self):
        for option in ("make_immutable", "save_params"):
            with self.assertRaises(RuntimeError):
                options = {"name": "read_params_from_cmdline", option: False}
                self.settings("--parameter-dict", "{'a': 1}", **options)

    def test_dynamic_settings(self):
        given = "{'a': 1, 'b': '{a + 1}'}"
        settings = self.settings("--parameter-dict", given, dynamic=False)
        self.assertEqual(settings.b, "{a + 1}")
        try:
            importlib.import_module("smart_settings")
        except ImportError:
            with self.assertRaisesRegex(ValueError, "`b` must be evaluated"):
                self.settings("--parameter-dict", given)
        else:
            self.assertEqual(self.settings("--parameter-dict", given, "a=5").b, 2)


class UnderTheSupervisor(Case):
    def test_the_runs_settings_stand_above_the_files_and_below_the_arguments(self):
        supervisor = self.supervisor()
        supervisor.settings.write_text('{"b": 20, "c": 30}')
        file = self.directory / "given.json"
        file.write_text('{"a": 1, "b": 2, "working_dir": "elsewhere"}')
        program = """
            params = cu_job.initialize_job()
            assert (params.a, params.b, params.c) == (1, 20, 31), params
            assert params.working_dir == os.environ["CU_OUTPUT_DIR"] and params.id == 7
            cu_job.finalize_job({"done": 1}, params)
        """
        process = self.start(program, str(file), "c=31")
        self.assertEqual(self.end(process), (0, ""))
        self.assertFalse((self.directory / "elsewhere").exists())
        self.assertEqual(supervisor.messages()[-1]["results"]["done"], 1)

    def test_arguments_that_cannot_be_read_are_reported(self):
        supervisor = self.supervisor()
        code, said = self.end(self.start("cu_job.initialize_job()", "rate=fast"))
        self.assertEqual(code, 1)
        self.assertIn("rate=fast", said)
        self.assertIn("rate=fast", supervisor.message()["failed"]["text"])


if __name__ == "__main__":
    unittest.main()
