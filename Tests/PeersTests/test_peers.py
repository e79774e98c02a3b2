# SPDX-License-Identifier: Apache-2.0
import pathlib
import tempfile
import types
import unittest

import numpy as np

import compare
import made_up
import measure
import plot
import problems
import report
import table
from operators.longhand import split_methods
from worker import PeerError, Worker

SHAPE = problems.Shape("Tiny", 4, 2, 16)


class ComparisonTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.running = pathlib.Path(folder.name), {}
        self.addCleanup(lambda: [worker.close() for worker in self.running.values()])

    def workers(self, roles):
        """Processes by name; `roles` says which made-up operator a name is."""
        settings = {"log": str(self.folder / "log")}

        def worker(name, threads):
            if name not in self.running or not self.running[name].alive:
                self.running[name] = Worker(name, threads, made_up.load, roles.get(name, name), threads, settings)
            return self.running[name]
        return worker

    def compare(self, phase="prefill", lengths=(32,), limits=None, **peers):
        roles = {"longhand": "Exact", "roofs": "Roofs"} | peers
        names = [name for name in roles if name != "roofs"]
        limits = limits or measure.Limits(seconds=1, call=1, rounds=3)
        comparison = measure.Comparison(names, self.workers(roles), limits, self.folder, {}, lambda text: None)
        return [row for keys in lengths for row in comparison.run(problems.Problem(phase, SHAPE, keys, 3))]

    def results(self, rows, **members):
        return {"machine": report.machine(), "commit": "0123", "versions": {"longhand": "1"}, "missing": {}, "models": [],
                "roofs": {"3": {"before": {"f32": 100.0, "bf16": 200.0, "int8": 400.0, "read": 50.0}}},
                "rows": [report.record(row) for row in rows]} | members

    def verdict(self, results, allow_missing=False):
        return compare.verdict(results, types.SimpleNamespace(allow_missing=allow_missing))

    def test_calls_are_interleaved_and_threads_set(self):
        rows = self.compare(other="Other")
        calls = (self.folder / "log").read_text().splitlines()
        self.assertEqual({line.split()[2] for line in calls}, {"3"})
        # A burst of a method counts once: what remains is the order A B C, once to warm up and three times to measure.
        order = [line for line, before in zip(calls, [None] + calls) if line != before]
        self.assertEqual([line.rsplit(" ", 1)[0] for line in order], ["Exact f32", "Exact bf16", "Other f32"] * 4)
        for row in rows:
            self.assertFalse(row.differs)
            self.assertGreaterEqual(len(row.times), 3)
            self.assertLess(row.best, 0.1)
            self.assertGreaterEqual(row.best, 0.002)

    def test_figures(self):
        prefill, decode = self.compare()[0], self.compare("decode", (64,))[1]
        self.assertEqual(prefill.problem.flops, 2 * 32 * 32 * 16 * 4)
        prefill.times = [0.001, 0.002, 0.009]
        self.assertAlmostEqual(prefill.gflops, 2 * 32 * 32 * 16 * 4 / 0.002 * 1e-9)
        self.assertAlmostEqual(prefill.share, prefill.gflops / 100)
        decode.times = [0.004]
        self.assertAlmostEqual(decode.gigabytes, 2 * 64 * 2 * 16 * 2 / 0.004 * 1e-9)
        self.assertAlmostEqual(decode.share, decode.gigabytes / 50)

    def test_wrong_peer_is_marked_and_wrong_ours_fails(self):
        for kind in ("Wrong", "NotANumber"):
            rows = self.compare(other=kind)
            self.assertEqual([row.differs for row in rows], [False, False, True])
            results = self.results(rows)
            self.assertEqual(self.verdict(results), 0)
            self.assertIn("f32 **differs**", table.page(results))
            self.assertNotIn(": other f32", table.summary(results["rows"]))
            for worker in self.running.values():
                worker.close()
            self.running.clear()
            self.assertEqual(self.verdict(self.results(self.compare(longhand=kind))), 1)
            self.running.clear()

    def test_a_peer_that_dies_or_refuses_stays_visible(self):
        rows = self.compare(dead="Dies", choosy="Refuses", other="Other")
        notes = {(row.peer, row.method): row.note for row in rows}
        self.assertEqual(notes["dead", "f32"], "its process ended with status 7")
        self.assertEqual(notes["choosy", "f32"], "no such shape")
        self.assertEqual(notes["choosy", "f16"], "takes no f16")
        self.assertEqual(notes["other", "f32"], "")
        page = table.page(self.results(rows))
        for note in notes.values():
            self.assertIn(note, page)

    def test_missing_peers(self):
        rows = self.compare()
        results = self.results(rows, missing={"pytorch": "no wheel"})
        self.assertEqual(self.verdict(results), 2)
        self.assertEqual(self.verdict(results, allow_missing=True), 0)
        self.assertIn("**pytorch is missing**: no wheel", table.page(results))
        with self.assertRaisesRegex(PeerError, "no wheel"):
            compare.Workers({}, {"pytorch": "no wheel"})("pytorch", 1)

    def test_calls_that_would_take_too_long_are_not_made(self):
        rows = self.compare(lengths=(32, 512), limits=measure.Limits(seconds=.2, call=2, rounds=2), slow="Slow")
        notes = [row.note for row in rows if row.peer == "slow"]
        self.assertEqual(notes[0], "")
        self.assertEqual(notes[1], "not run: about 4 s per call")

    def test_report_and_plots(self):
        rows = self.compare(lengths=(32, 64), pytorch="Other") + self.compare("decode", (32, 64), pytorch="Other")
        run = {"engine": "longhand", "method": "f32", "tokens": 512, "threads": 3, "runs": 1, "note": "", "model": "Tiny Q4",
               "prefill_tokens_per_second": 900.0, "decode_tokens_per_second": 90.0}
        results = self.results(rows, models=[run, run | {"engine": "pytorch", "prefill_tokens_per_second": 1000.0}])
        report.write(self.folder, results)
        plot.draw(results, self.folder)
        self.assertEqual(len((self.folder / "results.csv").read_text().splitlines()), 1 + len(rows))
        for name in ("prefill", "decode", "roofline", "model-tiny"):
            self.assertIn("</svg>", (self.folder / f"{name}.svg").read_text())
            self.assertTrue((self.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG"))
        self.assertRegex((self.folder / "table.md").read_text(), r"\| prefill \| Tiny 4/2 d16, N 64 \| 3 \| f32 \| f32: .* \| pytorch f32")


class PartsTest(unittest.TestCase):
    def test_reference_is_softmax_attention(self):
        with tempfile.TemporaryDirectory() as folder:
            problem = problems.Problem("prefill", SHAPE, 5, 1)
            inputs = problems.Inputs.create(problem, folder, {})
            q, k, v = (np.asarray(x[0], np.float64) for x in inputs.load())
            out = problems.reference(problem, inputs, [0, 4])[0]
            np.testing.assert_allclose(out[0], np.repeat(v[0], 2, axis=0))  # the first row sees one key
            weights = np.exp([q[4, 3] @ k[j, 1] / 4 for j in range(5)])
            np.testing.assert_allclose(out[1, 3], weights @ v[:, 1] / weights.sum())

    def test_inputs_are_the_same_in_every_type(self):
        with tempfile.TemporaryDirectory() as folder:
            q, _, _ = problems.Inputs.create(problems.Problem("decode", SHAPE, 9, 1, 2), folder, {}).load()
            self.assertEqual(q.shape, (2, 1, 4, 16))
            np.testing.assert_array_equal(q.view(np.uint32) & 0xffff, 0)

    def test_methods_with_options(self):
        self.assertEqual(split_methods("f32,bf16/flash:path=direct,x=1,q8:bits=4, q4"),
                         ["f32", "bf16/flash:path=direct,x=1", "q8:bits=4", "q4"])

    def test_relative_error(self):
        self.assertEqual(measure.relative_error(np.array([1., np.inf]), np.array([1., 2.])), float("inf"))
        self.assertAlmostEqual(measure.relative_error(np.array([3., 4.4]), np.array([3., 4.])), .08)

    def test_labels_do_not_overlap(self):
        moved = plot.spread([.5, .5, .51, .9], .05)
        self.assertEqual(sorted(range(4), key=lambda i: moved[i]), [0, 1, 2, 3])
        self.assertTrue(all(b - a > .049 for a, b in zip(moved, moved[1:])))


if __name__ == "__main__":
    outcome = unittest.main(exit=False, verbosity=2).result
    failed = len(outcome.failures) + len(outcome.errors)
    print(f"{outcome.testsRun - failed} passed, {failed} failed")
    raise SystemExit(1 if failed else 0)
