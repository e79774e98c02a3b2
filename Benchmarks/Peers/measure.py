# SPDX-License-Identifier: Apache-2.0
"""Times all methods of all peers on one problem, interleaved: A B C D, A B C D, ..., and compares their outputs."""
import dataclasses
import pathlib
import statistics
import tempfile
import time

import numpy as np

import problems
from worker import PeerError

OURS = "longhand"
# Largest error of an output relative to its size (both as 2-norms) that arithmetic of a type explains. Some peers sum in
# f16 what we sum in f32.
TOLERANCE = {"f32": 1e-4, "f16": 2e-2, "bf16": 2e-2}
OUR_TOLERANCE = TOLERANCE | {"f16": 2e-3}
QUANTISED_TOLERANCE = 0.3
BURST_SECONDS = 0.03  # short calls are repeated in a row
BURST_CALLS = 10
LONG_CALL = 0.05 # seconds from which on a call needs no other one to warm up


@dataclasses.dataclass
class Row:
    problem: problems.Problem
    peer: str
    method: str
    inputs: str = ""
    detail: str = ""
    bits: float = 0
    roof: str = "f32"
    times: list = dataclasses.field(default_factory=list)
    error: float | None = None  # relative, against our f32
    max_error: float | None = None  # largest absolute difference
    reference_error: float | None = None  # ours against double precision
    note: str = ""  # why there is no figure
    differs: bool = False  # its output is not what it should be
    roofs: dict = dataclasses.field(default_factory=dict)

    @property
    def median(self):
        return statistics.median(self.times)

    @property
    def best(self):
        return min(self.times)

    @property
    def gflops(self):
        return self.problem.flops / self.median * 1e-9

    @property
    def gigabytes(self):
        """GB/s of keys and values as they are kept."""
        return self.problem.bytes(self.bits) / self.median * 1e-9

    @property
    def share(self):
        """Of the roof: arithmetic for prefill, reading memory for decode."""
        if self.problem.phase == "prefill":
            return self.gflops / self.roofs[self.roof]
        return self.gigabytes / self.roofs["read"]

    def tolerance(self):
        kind = self.method.removeprefix("direct:").replace("/", " ").split()[0]
        if "int8" in self.method:
            return QUANTISED_TOLERANCE
        return (OUR_TOLERANCE if self.peer == OURS else TOLERANCE).get(kind, QUANTISED_TOLERANCE)


@dataclasses.dataclass
class Limits:
    seconds: float = 6  # of timing per problem
    call: float = 12  # a call expected to take longer is not made
    rounds: int = 9


class Comparison:
    """Measures problem after problem; `workers` gives the process of a peer, or raises PeerError."""

    def __init__(self, peers, workers, limits, folder, traces, log):
        self.peers, self.workers, self.limits, self.folder = peers, workers, limits, folder
        self.traces, self.log = traces, log
        self.known = {}  # (shape, phase, threads, peer, method) -> (keys, seconds)

    def run(self, problem):
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            inputs = problems.Inputs.create(problem, folder, self.traces)
            rows = [row for peer in self.peers for row in self._prepare(peer, problem, inputs)]
            ready = [row for row in rows if not row.note]
            self._time(problem, ready)
            self._check(problem, inputs, [row for row in ready if row.times], pathlib.Path(folder))
        for peer in {row.peer for row in rows}:
            self._try(self.workers(peer, problem.threads), "release")
        return rows

    def _try(self, worker, *command):
        try:
            worker.call(*command)
        except PeerError as error:
            self.log(f"{worker.name}: {error}")

    def _prepare(self, peer, problem, inputs):
        try:
            methods = self.workers(peer, problem.threads).call("methods", problem)
        except PeerError as error:
            return [Row(problem, peer, "", inputs.source, note=str(error))]
        return [self._prepare_method(Row(problem, peer, method, inputs.source, note=reason or ""), inputs)
                for method, reason in methods.items()]

    def _prepare_method(self, row, inputs):
        expected = self._expected(row)
        if not row.note and expected > self.limits.call:
            row.note = f"not run: about {expected:.0f} s per call"
        if not row.note:
            try:
                info = self.workers(row.peer, row.problem.threads).call("prepare", row.method, row.problem, inputs)
                row.bits, row.roof, row.detail = info["bits"], info["roof"], info["detail"]
            except PeerError as error:
                row.note = str(error)
        return row

    def _key(self, row):
        p = row.problem
        return p.phase, p.shape, p.batch, p.threads, row.peer, row.method

    def _expected(self, row):
        """From a shorter problem of the same shape."""
        keys, seconds = self.known.get(self._key(row), (row.problem.keys, 0))
        return seconds * (row.problem.keys / keys) ** (2 if row.problem.phase == "prefill" else 1)

    def _time(self, problem, rows):
        for row in rows:  # warms up, and says how long a call takes
            row.times = self._call(row, 1, False)
            if row.times and row.times[0] < LONG_CALL:  # most of a first short call is not the computation
                row.times = self._call(row, 1, False)
            if row.times:
                self.known[self._key(row)] = problem.keys, row.times[0]
        estimates = {id(row): row.times[0] for row in rows if row.times}
        calls = {key: max(1, min(BURST_CALLS, int(BURST_SECONDS / seconds))) for key, seconds in estimates.items()}
        pass_seconds = sum(estimates[key] * (calls[key] + (estimates[key] < LONG_CALL)) for key in estimates)
        rounds = max(1, min(self.limits.rounds, int(self.limits.seconds / max(pass_seconds, 1e-9))))
        for row in rows:
            if rounds > 1 or row.times and row.times[0] < LONG_CALL:
                row.times = row.times[1:]  # with one round to come, a long first call counts as well
        roofs, limit = [], "compute" if problem.phase == "prefill" else "read"
        for _ in range(rounds):
            roofs.append(self.workers("roofs", problem.threads).call("ask", limit))
            for row in rows:
                if id(row) in estimates and not row.note:
                    row.times += self._call(row, calls[id(row)], estimates[id(row)] < LONG_CALL)
        medians = {name: statistics.median(roof[name] for roof in roofs) for name in roofs[0]}
        for row in rows:
            row.roofs = medians

    def _call(self, row, calls, warm):
        try:
            times = self.workers(row.peer, row.problem.threads).call("time", row.method, calls, warm)
        except PeerError as error:
            row.note, times = str(error), []
        time.sleep(0.04)  # lets its idle threads fall asleep
        return times

    def _output(self, row, folder):
        path = folder / "result.npy"
        self.workers(row.peer, row.problem.threads).call("result", row.method, path)
        return np.load(path)

    def _check(self, problem, inputs, rows, folder):
        """Everybody against our f32 (or our first method), ours also against the formula in double precision."""
        rows.sort(key=lambda row: (row.peer != OURS, row.method != "f32"))
        expected = exact = None
        sample = np.unique(np.linspace(0, problem.rows - 1, 12).astype(int))
        for row in rows:
            try:
                output = self._output(row, folder)
            except PeerError as error:
                row.note = str(error)
                continue
            if row.peer == OURS:
                exact = problems.reference(problem, inputs, sample) if exact is None else exact
                row.reference_error = relative_error(output[:, sample], exact)
            if expected is None:
                expected = output
            row.error, row.max_error = relative_error(output, expected), float(np.abs(output - expected).max())
            worst = max(row.error, row.reference_error or 0)
            row.differs = not worst <= row.tolerance()


def relative_error(output, expected):
    """Of 2-norms; infinite where either is not finite."""
    difference = np.linalg.norm((output - expected).astype(np.float64)) / np.linalg.norm(expected.astype(np.float64))
    return float(difference) if np.isfinite(difference) else float("inf")
