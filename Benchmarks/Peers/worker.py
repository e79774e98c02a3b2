# SPDX-License-Identifier: Apache-2.0
"""Each peer runs in a process of its own, so that thread pools, OpenMP runtimes and crashes of one do not touch another."""
import gc
import multiprocessing
import os
import time

import numpy as np


class PeerError(Exception):
    """A peer that could not do what was asked, with its reason in one line."""


def thread_environment(threads):
    """Set explicitly for every runtime. Idle workers of libomp go to sleep soon, or they would take time from the next peer;
    within a series of calls they stay awake."""
    names = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {name: str(threads) for name in names} | {"OMP_DYNAMIC": "false", "KMP_BLOCKTIME": "5"}


def one_line(error):
    text = str(error).strip()
    return " ".join((text or type(error).__name__).split())[:300]


class Serving:
    """The side of the peer: prepared calls by name."""

    def __init__(self, load):
        self.peer, self.calls = load(), {}

    def version(self):
        return self.peer.version()

    def methods(self, problem):
        return self.peer.methods(problem)

    def prepare(self, name, problem, inputs):
        call = self.peer.prepare(problem, inputs, name)
        self.calls[name] = call
        return {"bits": call.bits, "roof": call.roof, "detail": call.detail}

    def time(self, name, calls, warm):
        """Seconds of each of `calls` calls, after one that is not counted if `warm`."""
        run, times = self.calls[name].run, []
        if warm:
            run()
        for _ in range(calls):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return times

    def result(self, name, path):
        np.save(path, self.calls[name].result())

    def release(self):
        self.calls.clear()
        gc.collect()

    def ask(self, name, *arguments):
        """Any other question that the peer answers, as whole models do."""
        return getattr(self.peer, name)(*arguments)


def serve(connection, load, arguments):
    gc.disable()
    try:
        serving = Serving(lambda: load(*arguments))
        connection.send((True, None))
    except Exception as error:  # whatever a peer raises is its answer
        connection.send((False, one_line(error)))
        return
    while True:
        try:
            command, parameters = connection.recv()
        except EOFError:
            return
        try:
            connection.send((True, getattr(serving, command)(*parameters)))
        except Exception as error:
            connection.send((False, one_line(error)))


class Worker:
    """The side of the comparison. Raises PeerError for what the peer reports, and when it dies."""

    def __init__(self, name, threads, load, *arguments):
        self.name, self.threads = name, threads
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, load, arguments), daemon=True)
        saved = dict(os.environ)
        os.environ.update(thread_environment(threads))
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(saved)
        other.close()
        self._receive()

    def _receive(self):
        try:
            good, answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(10)
            raise PeerError(f"its process ended with status {self.process.exitcode}") from None
        if not good:
            raise PeerError(answer)
        return answer

    def call(self, command, *parameters):
        try:
            self.connection.send((command, parameters))
        except (BrokenPipeError, OSError):
            raise PeerError("its process has ended") from None
        return self._receive()

    @property
    def alive(self):
        return self.process.is_alive()

    def close(self):
        self.connection.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()

