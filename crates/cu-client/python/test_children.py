"""Tests of cu_job.py: children of a job, by os.fork, multiprocessing, pools and subprocess.

Most programs here make their job at the top of the file. Under spawn and forkserver multiprocessing
imports that file again in each child, which is the harder case.
"""

import json
import os
import signal
import threading
import unittest

from support import BOUND, Case

METHODS = ("fork", "spawn", "forkserver")


class Children(Case):
    STATE = """
        import concurrent.futures, json, multiprocessing, subprocess
        from support import process_state

        signal.signal(signal.SIGUSR2, lambda *_: None)
        if os.environ["WITH_A_JOB"] == "yes":
            job = cu_job.Job()
            job.should_exit()

        def report(path):
            with open(path, "w") as file:
                json.dump(process_state(), file)

        def fork(path):
            child = os.fork()
            if child == 0:
                report(path)
                os._exit(0)
            os.waitpid(child, 0)

        def main(kind, path):
            if kind == "os.fork":
                fork(path)
            elif kind == "os.fork in a thread":
                thread = threading.Thread(target=fork, args=(path,))
                thread.start()
                thread.join()
            elif kind == "preexec_fn":
                subprocess.run(["true"], preexec_fn=lambda: report(path), check=True)
            elif kind == "program":
                program = "import json, support; print(json.dumps(support.process_state()))"
                with open(path, "w") as file:
                    subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
            elif kind.startswith("pool "):
                context = multiprocessing.get_context(kind[5:])
                with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                    pool.submit(report, path).result()
            else:
                child = multiprocessing.get_context(kind).Process(target=report, args=(path,))
                child.start()
                child.join()

        if __name__ == "__main__":
            main(*sys.argv[1:])
    """

    def test_a_child_has_the_handlers_and_sockets_it_would_have(self):
        self.supervisor()
        pools = [f"pool {method}" for method in METHODS]
        others = ["os.fork", "os.fork in a thread", "preexec_fn", "program"]
        for kind in [*METHODS, *pools, *others]:
            with self.subTest(kind):
                without, with_a_job = self.states_of_a_child(kind)
                self.assertEqual(with_a_job, without)

    def states_of_a_child(self, kind):
        """Returns them for a child of a program without a job, and for one with a job."""
        processes = []
        for with_a_job in ("no", "yes"):
            os.environ["WITH_A_JOB"] = with_a_job
            path = str(self.directory / with_a_job)
            processes.append((self.start(self.STATE, kind, path), path))
        for process, path in processes:
            self.assertEqual(self.end(process), (0, ""))
            with open(path) as file:
                yield json.load(file)

    def test_a_signal_between_fork_and_our_handlers_is_not_lost(self):
        """A hook that runs in the child before ours sends the signal."""
        self.supervisor()
        program = """
            del sys.modules["cu_job"]  # so that its hooks come after this one
            os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
            import cu_job

            job = cu_job.Job()
            child = os.fork()
            if child == 0:
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM, status
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
        """
        self.assertEqual(self.end(self.start(program)), (0, ""))

    def test_terminate_ends_a_child_at_once(self):
        """Of fork even before it runs. The others start a program, and between fork and exec Python
        up to 3.9 loses signals for which there is a handler, ours or another."""
        self.supervisor()
        program = """
            import multiprocessing
            job = cu_job.Job()

            def run(is_running):
                is_running.set()
                time.sleep(999)

            if __name__ == "__main__":
                job.should_exit()
                context = multiprocessing.get_context(sys.argv[1])
                for _ in range(int(sys.argv[2])):
                    is_running = context.Event()
                    child = context.Process(target=run, args=(is_running,))
                    child.start()
                    if sys.argv[1] != "fork":
                        is_running.wait()
                    child.terminate()
                    child.join()
                    assert child.exitcode == -signal.SIGTERM, child.exitcode
                assert not job.should_exit()
        """
        for method, children in (("fork", "50"), ("spawn", "2"), ("forkserver", "2")):
            code, output = self.end(self.start(program, method, children))
            self.assertEqual((code, output), (0, ""), method)

    def test_daemon_children_do_not_hold_up_the_exit(self):
        supervisor = self.supervisor()
        program = """
            import multiprocessing
            job = cu_job.Job()
            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[1])
                children = [context.Process(target=time.sleep, args=(999,), daemon=True)
                            for _ in range(2)]
                for child in children:
                    child.start()
                job.should_exit()
                if sys.argv[2] == "resume":
                    job.save_json(1)
                    job.exit_for_resume()
                job.finalize({})
        """
        for method in METHODS:
            for end, expected in (("resume", 3), ("finalize", 0)):
                with self.subTest(f"{method} {end}"):
                    code, output = self.end(self.start(program, method, end))
                    self.assertEqual((code, output), (expected, ""))
                    kinds = [kind for message in supervisor.messages() for kind in message]
                    self.assertEqual(len(kinds), 1, kinds)

    def test_a_vector_of_environments_is_closed_and_the_state_saved(self):
        """As gymnasium's AsyncVectorEnv: daemon workers at pipes, never closed by the program. They
        have a SIGTERM handler of their own, and only the parent gets the signal."""
        self.supervisor()
        program = """
            import multiprocessing

            def worker(pipe):
                signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
                try:
                    while True:
                        pipe.send(pipe.recv() + 1)
                except EOFError:
                    pass

            def main():
                pipes = []
                context = multiprocessing.get_context(sys.argv[1])
                for _ in range(3):
                    ours, theirs = context.Pipe()
                    context.Process(target=worker, args=(theirs,), daemon=True).start()
                    theirs.close()
                    pipes.append(ours)
                with cu_job.Job() as job:
                    values = [0] * len(pipes)
                    while True:
                        for pipe, value in zip(pipes, values):
                            pipe.send(value)
                        values = [pipe.recv() for pipe in pipes]
                        if values == [1] * 3:
                            print("ready", flush=True)
                        if job.should_exit():
                            job.save_json(values)
                            job.exit_for_resume()

            if __name__ == "__main__":
                main()
        """
        for method in METHODS:
            with self.subTest(method):
                process = self.start(program, method)
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(signal.SIGTERM)
                code, output = self.end(process)
                self.assertEqual((code, output), (3, ""))
                self.assertEqual(len(set(self.job().load_json())), 1)


class Conversations(Case):
    """What children say, and who gets the answers."""

    def test_answers_to_workers_never_reach_the_parent(self):
        workers, messages = 4, 50
        heard = set()
        all_heard = threading.Event()

        def answer(request):
            if request == "should_exit":
                return {"should_exit": "operator" if all_heard.is_set() else None}
            heard.update(request["say"].get("early_metrics", ()))
            if len(heard) == workers * messages:
                all_heard.set()
            return None

        supervisor = self.supervisor(answer)
        program = f"""
            import multiprocessing
            job = cu_job.Job(note_signals=False)

            def work(worker):
                for step in range({messages}):
                    job.announce_early_results({{f"{{worker}}.{{step}}": step}})

            if __name__ == "__main__":
                assert not job.should_exit()  # the connection is open when the workers start
                with multiprocessing.get_context(sys.argv[1]).Pool({workers}) as pool:
                    result = pool.map_async(work, range({workers}), chunksize=1)
                    while not job.should_exit():
                        time.sleep(0.001)
                    result.get()
                    assert job.exit_reason == "operator", job.exit_reason
                job.exit_for_resume()
        """
        for method in METHODS:
            with self.subTest(method):
                heard.clear()
                all_heard.clear()
                supervisor.kinds.clear()
                code, output = self.end(self.start(program, method))
                self.assertEqual((code, output), (3, ""))
                self.assertEqual(len(heard), workers * messages)
                self.assertIn("resume_request", supervisor.messages()[-1])
                of_the_parent, *of_workers = supervisor.kinds
                self.assertEqual(of_the_parent, {"should_exit", "resume_request"})
                self.assertEqual(set().union(*of_workers), {"early_metrics"})

    def test_a_child_keeps_no_connection_open(self):
        """The supervisor serves a limited number, and a pool may have more workers than that."""
        supervisor = self.supervisor()
        process = self.start(
            """
            job = cu_job.Job()
            job.should_exit()
            if os.fork() == 0:
                job.announce_fraction_finished(0.5)
                job.announce_early_results({"loss": 1})
                job.should_exit()
                print("ready", flush=True)
                threading.Event().wait()
            os.wait()
            """
        )
        self.assertEqual(process.stdout.readline(), "ready\n")
        with supervisor.has_closed:
            closed = supervisor.has_closed.wait_for(lambda: len(supervisor.open) == 1, BOUND)
        self.assertTrue(closed)
        self.assertEqual(supervisor.kinds[:3], [{"should_exit"}, {"progress"}, {"early_metrics"}])
        self.assertEqual(supervisor.messages(), [{"progress": 0.5}, {"early_metrics": {"loss": 1}}])

    def test_a_fork_while_a_thread_holds_our_lock(self):
        """The supervisor confirms the results of a thread once it has heard the child."""
        child_was_heard = threading.Event()
        results_came = threading.Event()

        def answer(request):
            if request != "should_exit":
                if "results" in request["say"]:
                    results_came.set()
                    self.assertTrue(child_was_heard.wait(BOUND))
                elif request["say"] == {"early_metrics": {"child": 1}}:
                    child_was_heard.set()
            return None

        supervisor = self.supervisor(answer)
        process = self.start(
            """
            job = cu_job.Job()
            thread = threading.Thread(target=job.finalize, args=({},))
            thread.start()
            input()  # until the thread waits for its answer
            child = os.fork()
            if child == 0:
                job.announce_early_results({"child": 1})
                job.should_exit()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            thread.join()
            sys.exit(status)
            """
        )
        self.assertTrue(results_came.wait(BOUND))
        self.assertEqual(self.end(process, "\n")[0], 0)
        kinds = [kind for message in supervisor.messages() for kind in message]
        self.assertEqual(kinds, ["results", "early_metrics"])

    def test_only_the_process_of_the_job_can_end_it(self):
        supervisor = self.supervisor()
        program = """
            import multiprocessing
            job = cu_job.Job()

            def end():
                for name, call in (
                    ("finalize", lambda: job.finalize({})),
                    ("exit_for_resume", job.exit_for_resume),
                ):
                    try:
                        call()
                    except cu_job.JobError as error:
                        assert f"{name} was called in process {os.getpid()}" in str(error), error
                    else:
                        sys.exit("nothing was raised")

            if __name__ == "__main__":
                child = multiprocessing.get_context(sys.argv[1]).Process(target=end)
                child.start()
                child.join()
                sys.exit(child.exitcode)
        """
        for method in METHODS:
            code, output = self.end(self.start(program, method))
            self.assertEqual((code, output), (0, ""), method)
        self.assertEqual(supervisor.messages(), [])
        self.assertFalse((supervisor.output / "metrics.csv").exists())

    def test_an_exception_in_a_child_is_not_the_jobs_failure(self):
        supervisor = self.supervisor()
        for program in (
            "job = cu_job.Job()\nif os.fork() == 0: 1 / 0\nos.wait()",
            "with cu_job.Job() as job:\n    if os.fork() == 0: 1 / 0\n    os.wait()",
        ):
            code, output = self.end(self.start(program))
            self.assertEqual(code, 0, output)
            self.assertIn("ZeroDivisionError", output)
        self.assertEqual(supervisor.messages(), [])

    def test_a_child_knows_that_the_parent_was_asked(self):
        self.supervisor()
        program = """
            job = cu_job.Job()
            os.kill(os.getpid(), signal.SIGUSR1)
            child = os.fork()
            if child == 0:
                os._exit(not job.should_exit())
            sys.exit(os.waitpid(child, 0)[1])
        """
        self.assertEqual(self.end(self.start(program)), (0, ""))


class ForksWhileSaving(Case):
    def test_a_child_can_save(self):
        self.supervisor()
        program = """
            with cu_job.Job() as job:
                child = os.fork()
                if child == 0:
                    job.save_json("of the child")
                    os._exit(0)
                os.waitpid(child, 0)
                assert job.load_json() == "of the child"
                job.exit_for_resume()
        """
        self.assertEqual(self.end(self.start(program)), (3, ""))

    def test_a_child_that_leaves_a_save_leaves_it_to_the_parent(self):
        """It raises, leaves by sys.exit with bytes in its buffer, or reaches the block's end."""
        self.supervisor()
        program = """
            how = sys.argv[1]

            def fork():
                child = os.fork()
                if child == 0:
                    if how == "raise":
                        raise KeyError
                    if how == "exit":
                        sys.exit(1)
                    return
                _, status = os.waitpid(child, 0)
                assert os.WEXITSTATUS(status) == 1, status

            with cu_job.Job() as job:
                with job.checkpoint_writer() as file:
                    file.write(b"a" * 100)
                    fork()
                    file.write(b"b" * 100)
                assert job.load_bytes() == b"a" * 100 + b"b" * 100
                with job.save_dir() as path:
                    (path / "a").write_text("a")
                    fork()
                    (path / "b").write_text("b")
                assert (job.load_dir() / "b").read_text() == "b"
                job.exit_for_resume()
        """
        for how in ("raise", "exit", "end"):
            with self.subTest(how):
                code, output = self.end(self.start(program, how))
                self.assertEqual(code, 3, output)
                if how == "end":
                    self.assertEqual(output.count("began this checkpoint"), 2, output)


if __name__ == "__main__":
    unittest.main()
