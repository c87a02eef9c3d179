"""Tests of cu_job.py: checkpoints."""

import contextlib
import errno
import io
import os
import pickle
import signal
import stat
import sys
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import cu_job
from support import Case


class Checkpoints(Case):
    def test_bytes_and_json_come_back(self):
        job = self.job()
        self.assertIsNone(job.load_bytes())
        self.assertEqual(job.load_json({"step": 0}), {"step": 0})
        job.save_bytes(b"\x00\xff" * 1_000_000)
        self.assertEqual(self.job().load_bytes(), b"\x00\xff" * 1_000_000)
        job.save_json({"step": 1})
        self.assertEqual(self.job().load_json(), {"step": 1})

    def test_pickle_zip_and_text_can_be_written_and_read(self):
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

    def test_an_old_attempt_neither_removes_nor_hides_newer_saves(self):
        job, zombie = self.job(attempt=2), self.job(attempt=1)
        for step in range(4):
            job.save_json(step)
        zombie.save_json("zombie")
        names = sorted(os.listdir(self.directory / "checkpoints"))
        self.assertEqual(names, ["1.0.checkpoint", "2.2.checkpoint", "2.3.checkpoint"])
        self.assertEqual(self.job(attempt=3).load_json(), 3)

    def test_damage_anywhere_is_seen_and_skipped(self):
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

    def test_files_of_dead_writers_go_and_of_living_ones_stay(self):
        self.job(attempt=0).save_json(0)
        directory = self.directory / "checkpoints"
        (directory / ".cu-tmp-0-dead").write_bytes(b"half")
        with self.job(attempt=1).checkpoint_writer() as file:
            file.write(b"1")
            self.assertFalse((directory / ".cu-tmp-0-dead").exists())
            self.job(attempt=2).save_json(2)
            self.assertEqual(len(list(directory.glob(".cu-tmp-1-*"))), 1)
        self.assertEqual(list(directory.glob(".cu-tmp-*")), [])

    def test_a_file_system_that_cannot_sync_directories(self):
        sync = os.fsync

        def sync_files_only(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            sync(descriptor)

        with mock.patch("os.fsync", sync_files_only):
            self.job().save_bytes(b"saved")
        self.assertEqual(self.job().load_bytes(), b"saved")

    def test_the_directory_is_durable_before_its_checkpoints(self):
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

    def test_a_save_that_fails_names_the_directory(self):
        (self.directory / "checkpoints").write_text("in the way")
        with self.assertRaisesRegex(cu_job.CheckpointError, "checkpoints"):
            self.job().save_json(1)


class Directories(Case):
    """Checkpoints of `save_dir`."""

    def setUp(self):
        super().setUp()
        self.checkpoints = self.directory / "checkpoints"

    def save(self, job, step):
        """Several files that all say the same."""
        with job.save_dir() as path:
            (path / "empty").mkdir()
            (path / "model" / "layers").mkdir(parents=True)
            for name in ("config.json", "model/weights", "model/layers/ü"):
                (path / name).write_text(str(step))

    def loaded(self, job):
        """The step that all files of the newest checkpoint say, None if there is none."""
        path = job.load_dir()
        if path is None:
            return None
        self.assertTrue((path / "empty").is_dir())
        names = ("config.json", "model/weights", "model/layers/ü")
        [step] = {(path / name).read_text() for name in names}
        return int(step)

    def test_files_come_back_as_one_and_the_newest_two_stay(self):
        job = self.job()
        self.assertIsNone(job.load_dir())
        self.assertEqual(job.load_dir("default"), "default")
        for step in range(4):
            self.save(job, step)
            self.assertEqual(self.loaded(self.job()), step)
        self.assertEqual(
            sorted(os.listdir(self.checkpoints)), ["0.2.checkpoint", "0.3.checkpoint"]
        )

    def test_a_save_counts_for_should_save(self):
        job = self.job()
        job.save_every(0)
        with mock.patch("time.monotonic", lambda: 1e9):
            self.save(job, 1)
            self.assertTrue(job.should_save())
            job.save_every(1)
            self.assertFalse(job.should_save())

    def test_an_exception_leaves_no_trace(self):
        job = self.job()
        self.save(job, 1)
        with self.assertRaises(ZeroDivisionError), job.save_dir() as path:
            (path / "half").write_text("half")
            1 / 0
        self.assertEqual(os.listdir(self.checkpoints), ["0.0.checkpoint"])

    @mock.patch("os.fsync", lambda descriptor: None)  # it is slow, and a kill does not need it
    def test_killed_at_any_line_the_old_or_the_new_is_there(self):
        """A child saves the next step. SIGKILL ends it at the N-th line of cu_job.py that it
        reaches, each line counted once."""
        step, lines, was_killed = 0, 0, True
        while was_killed:
            self.save(self.job(), step)
            self.assertEqual(list(self.checkpoints.glob(".cu-tmp-*")), [], "the dead are swept")
            lines += 1
            was_killed = self.killed_while_saving(step + 1, lines)
            with contextlib.redirect_stderr(io.StringIO()) as said:
                loaded = self.loaded(self.job())
            self.assertEqual(said.getvalue(), "", "nothing is ever damaged")
            self.assertIn(loaded, (step, step + 1) if was_killed else (step + 1,))
            step = loaded
        self.assertGreater(lines, 100)

    def killed_while_saving(self, step, lines):
        """Whether a child that saves reached this many lines of cu_job.py, and was killed there."""
        child = os.fork()
        if child == 0:
            reached = set()

            def trace(frame, event, argument):
                if frame.f_code.co_filename != cu_job.__file__:
                    return None
                reached.add(frame.f_lineno)
                if len(reached) == lines:
                    os.kill(os.getpid(), signal.SIGKILL)
                return trace

            try:
                job = self.job()
                sys.settrace(trace)
                self.save(job, step)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        self.assertIn(status, (0, signal.SIGKILL))
        return status != 0

    def test_all_files_are_durable_before_the_checkpoint_has_its_name(self):
        sync, rename, done = os.fsync, os.rename, []

        def sync_and_note(descriptor):
            done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
            sync(descriptor)

        def rename_and_note(source, target):
            done.append("renamed")
            rename(source, target)

        job = self.job()
        with mock.patch("os.fsync", sync_and_note), mock.patch("os.rename", rename_and_note):
            self.save(job, 1)
        before = done[: done.index("renamed")]
        names = {"empty", "model", "layers", "config.json", "weights", "ü", ".cu-manifest"}
        self.assertLessEqual(names, set(before))
        self.assertEqual(done[done.index("renamed") + 1 :], ["checkpoints"])

    def test_damage_of_any_file_is_seen_and_skipped(self):
        job = self.job()
        self.save(job, 1)
        self.save(job, 2)
        newest = self.checkpoints / "0.1.checkpoint"

        def check(what):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(self.loaded(job), 1, what)
            self.assertIn("0.1.checkpoint", said.getvalue())

        for name in ("config.json", "model/layers/ü", ".cu-manifest"):
            file = newest / name
            intact = file.read_bytes()
            for place in range(len(intact)):
                flipped = bytes([intact[place] ^ 1])
                file.write_bytes(intact[:place] + flipped + intact[place + 1 :])
                check(f"{name} at {place}")
            file.write_bytes(intact + b"x")
            check(f"longer {name}")
            file.unlink()
            check(f"no {name}")
            file.mkdir()
            check(f"directory {name}")
            file.rmdir()
            file.write_bytes(intact)
        self.assertEqual(self.loaded(job), 2)
        (newest / "more").write_text("more")
        self.assertEqual(self.loaded(job), 2)

    def test_a_manifest_that_leads_outside_is_damage(self):
        (self.directory / "outside").write_text("1")
        for name in (b"../../../outside", b"/etc/passwd", b"", b"a/./b"):
            job = self.job()
            entry = cu_job._ENTRY.pack(1, 1, 0, len(name)) + name
            with mock.patch("cu_job._describe", lambda root: entry):
                with job.save_dir():
                    pass
            with self.assertRaisesRegex(cu_job.CheckpointError, "manifest is malformed"):
                job.load_dir()

    def test_a_checkpoint_of_another_kind_is_an_error(self):
        job = self.job()
        self.save(job, 1)
        with self.assertRaisesRegex(cu_job.CheckpointError, "0.0.checkpoint, is a directory"):
            job.load_json()
        job.save_json(2)
        with self.assertRaisesRegex(cu_job.CheckpointError, "0.1.checkpoint, is a file"):
            job.load_dir()

    def test_links_and_pipes_are_refused(self):
        job = self.job()
        with self.assertRaisesRegex(cu_job.CheckpointError, "link: it is neither a file"):
            with job.save_dir() as path:
                (path / "link").symlink_to("elsewhere")
        with self.assertRaisesRegex(cu_job.CheckpointError, "pipe: it is neither a file"):
            with job.save_dir() as path:
                os.mkfifo(path / "pipe")
        self.assertEqual(os.listdir(self.checkpoints), [])

    def test_a_library_that_clears_its_directory_is_an_error(self):
        job = self.job()
        with self.assertRaisesRegex(cu_job.CheckpointError, "was removed while"):
            with job.save_dir() as path:
                cu_job._remove(path)
                path.mkdir()
                (path / "weights").write_text("w")
        self.assertEqual(os.listdir(self.checkpoints), [])
        with job.save_dir() as path:
            (path / "model").mkdir()
        self.assertTrue((job.load_dir() / "model").is_dir())

    def test_a_name_that_another_writer_took_is_not_replaced(self):
        for taken in ("directory", "stream"):
            with self.subTest(taken):
                job, other = self.job(attempt=1), self.job(attempt=1)
                listed = job._checkpoints.generations()
                if taken == "directory":
                    self.save(other, 5)
                else:
                    other.save_json(5)
                list_now, old_lists = job._checkpoints.generations, [listed]
                with mock.patch.object(
                    job._checkpoints,
                    "generations",
                    lambda: old_lists.pop() if old_lists else list_now(),
                ):
                    self.save(job, 6)
                self.assertEqual(old_lists, [])
                self.assertEqual(self.loaded(job), 6)
                self.assertGreaterEqual(len(job._checkpoints.generations()), 2)

    def test_directories_of_dead_writers_go_and_of_living_ones_stay(self):
        self.save(self.job(), 0)
        for name in (".cu-tmp-0-dead", ".cu-tmp-0-without", ".cu-tmp-2-later"):
            (self.checkpoints / name).mkdir()
        (self.checkpoints / ".cu-tmp-0-dead" / ".cu-manifest").touch()
        with self.job(attempt=1).save_dir() as path:
            self.job(attempt=1).save_bytes(b"")
            names = set(os.listdir(self.checkpoints))
            self.assertEqual(
                names, {path.name, ".cu-tmp-2-later", "0.0.checkpoint", "1.0.checkpoint"}
            )

    def test_without_locks_only_earlier_attempts_are_swept(self):
        self.save(self.job(), 0)
        for name in (".cu-tmp-0-a", ".cu-tmp-1-b", ".cu-tmp-c"):
            (self.checkpoints / name).mkdir()
        no_locks = OSError(errno.ENOLCK, "No locks available")
        with mock.patch("fcntl.flock", side_effect=no_locks):
            self.save(self.job(attempt=1), 1)
        left = sorted(path.name for path in self.checkpoints.glob(".cu-tmp-*"))
        self.assertEqual(left, [".cu-tmp-1-b", ".cu-tmp-c"])


if __name__ == "__main__":
    unittest.main()
