"""Tests of cu_job.py: what signals do to a program, before, within and after its job."""

import contextlib
import io
import os
import signal
import unittest
from unittest import mock

import cu_job
from support import Case

NOTED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class Signals(Case):
    def ready(self, program, *arguments, **options):
        """A program that has printed `ready`."""
        process = self.start(program, *arguments, **options)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

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

    def test_a_signal_is_noted_and_earlier_handlers_still_run(self):
        for number in NOTED:
            process = self.ready(self.LOOP)
            process.send_signal(number)
            code, output = self.end(process)
            self.assertEqual(code, 3, output)
            before = " before" if number == signal.SIGUSR1 else ""
            self.assertIn(f"signal {int(number)}{before}\n", output)

    SAVING = """
        with cu_job.Job() as job:
            with job.save_dir() as path:
                print("ready", flush=True)
                for line in sys.stdin:  # until the test has sent all signals
                    (path / "step").write_text(line)
                    print("heard", job.should_exit(), flush=True)
            job.exit_for_resume()
    """

    def save_amid(self, *numbers):
        """Sends signals to a program that saves, each after the one before was handled."""
        process = self.ready(self.SAVING)
        for number in numbers:
            process.send_signal(number)
            process.stdin.write("step\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), "heard True\n")
        return self.end(process)

    def test_no_signal_interrupts_a_save_however_often_it_comes(self):
        self.supervisor()
        for number in NOTED:
            code, output = self.save_amid(*[number] * 4)
            self.assertEqual(code, 3, output)
            self.assertEqual((self.job().load_dir() / "step").read_text(), "step\n")
        code, output = self.save_amid(*NOTED, *NOTED)
        self.assertEqual(code, 3, output)

    def test_without_a_supervisor_sigterm_does_not_interrupt_a_save(self):
        code, output = self.save_amid(signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
        self.assertEqual(code, 3, output)

    def test_without_a_supervisor_a_second_ctrl_c_interrupts(self):
        process = self.ready(
            """
            job = cu_job.Job()
            print("ready", flush=True)
            input()
            print(job.should_exit(), flush=True)
            threading.Event().wait()
            """
        )
        process.send_signal(signal.SIGINT)
        process.stdin.write("\n")  # is read after the first was noted
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "True\n")
        process.send_signal(signal.SIGINT)
        code, output = self.end(process)
        self.assertEqual(code, -signal.SIGINT, output)
        self.assertIn("KeyboardInterrupt", output)

    def test_a_script_that_forwards_sigterm_does_not_interrupt(self):
        """The script and the program get the signal, and the script forwards it."""
        self.supervisor()
        script = self.directory / "script.sh"
        script.write_text(
            """
            "$@" <&0 & program=$!
            forward() {
                until [ -e asked ]; do sleep 0.01; done  # or the two signals may become one
                kill -TERM $program
                echo forwarded >&2
            }
            trap forward TERM
            wait $program; wait $program; exit $?
            """
        )
        process = self.ready(
            """
            with cu_job.Job() as job:
                print("ready", flush=True)
                while not job.should_exit():
                    time.sleep(0.01)
                open("asked", "w").close()
                with job.checkpoint_writer() as file:
                    input()  # until the test knows that the signal was forwarded
                    file.write(b"saved")
                job.exit_for_resume()
            """,
            prefix=("bash", str(script)),
        )
        os.killpg(process.pid, signal.SIGTERM)
        self.assertEqual(process.stderr.readline(), "forwarded\n")
        code, output = self.end(process, "\n")
        self.assertEqual(code, 3, output)
        self.assertEqual(self.job().load_bytes(), b"saved")

    def test_after_finalize_sigterm_and_sigint_end_and_others_are_noted(self):
        self.supervisor()
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.ready(
                """
                with cu_job.Job() as job:
                    job.finalize({})
                    for other in (signal.SIGUSR1, signal.SIGUSR2):
                        os.kill(os.getpid(), other)
                    print("ready", flush=True)
                    threading.Event().wait()
                """
            )
            process.send_signal(number)
            self.assertEqual(self.end(process)[0], -number)

    def test_after_the_block_all_is_as_before(self):
        for number in NOTED:
            process = self.ready(
                """
                before = [signal.getsignal(number) for number in range(1, 32)]
                with cu_job.Job() as job:
                    assert [signal.getsignal(number) for number in range(1, 32)] != before
                assert [signal.getsignal(number) for number in range(1, 32)] == before
                print("ready", flush=True)
                threading.Event().wait()
                """
            )
            process.send_signal(number)
            self.assertEqual(self.end(process)[0], -number)

    HANGING = """
        import atexit
        def hang():
            print("ready", flush=True)
            input()
        atexit.register(hang)
        cu_job.Job().exit_for_resume()
    """

    def test_sigterm_ends_a_program_that_hangs_after_its_request(self):
        self.supervisor()
        process = self.ready(self.HANGING)
        process.send_signal(signal.SIGTERM)
        code, output = self.end(process)
        self.assertEqual(code, -signal.SIGTERM, output)

    def test_exit_code_3_is_not_lost_to_sigterm_if_nothing_else_asks(self):
        process = self.ready(self.HANGING)
        process.send_signal(signal.SIGTERM)
        code, output = self.end(process, "\n")
        self.assertEqual(code, 3, output)

    def test_a_handler_installed_later_stays_and_may_call_ours(self):
        """As frameworks do: they keep our handler, install theirs, and put ours back at the end."""
        came = []
        before = {number: signal.getsignal(number) for number in NOTED}
        self.addCleanup(lambda: [signal.signal(number, old) for number, old in before.items()])
        with self.job(note_signals=True) as job:
            ours = signal.getsignal(signal.SIGTERM)

            def theirs(number, frame):
                came.append(number)
                ours(number, frame)

            signal.signal(signal.SIGTERM, theirs)
            signal.raise_signal(signal.SIGTERM)
            self.assertEqual(came, [signal.SIGTERM])
            self.assertTrue(job.should_exit())
        self.assertIs(signal.getsignal(signal.SIGTERM), theirs)
        signal.raise_signal(signal.SIGTERM)  # without us there would be nothing to call
        self.assertEqual(came, [signal.SIGTERM] * 2)

    def test_our_handler_put_back_after_the_end_does_not_swallow(self):
        process = self.ready(
            """
            with cu_job.Job() as job:
                ours = signal.getsignal(signal.SIGTERM)
                job.finalize({})
            signal.signal(signal.SIGTERM, ours)
            print("ready", flush=True)
            threading.Event().wait()
            """
        )
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.end(process)[0], -signal.SIGTERM)

    def test_a_handler_that_python_cannot_put_back_is_left_alone(self):
        with mock.patch("signal.getsignal", lambda number: None):
            with mock.patch("signal.signal") as install:
                with self.job(note_signals=True):
                    pass
        install.assert_not_called()

    def test_a_request_after_the_results_is_refused(self):
        supervisor = self.supervisor()
        code, output = self.end(
            self.start("with cu_job.Job() as job: job.finalize({}); job.exit_for_resume()")
        )
        self.assertEqual(code, 1)
        self.assertIn("exit_for_resume was called after finalize", output)
        kinds = [kind for message in supervisor.messages() for kind in message]
        self.assertEqual(kinds, ["results", "failed"])

    def test_refused_results_leave_the_way_to_a_resume_open(self):
        self.supervisor(lambda request: {"refused": "no"} if "results" in str(request) else None)
        job = self.job()
        with self.assertRaises(cu_job.JobError):
            job.finalize({})
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            job.exit_for_resume()


if __name__ == "__main__":
    unittest.main()
