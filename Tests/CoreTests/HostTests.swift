// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Synchronization
import Synchronization
import Testing

/// How often each task and each worker of a loop ran.
final class Tally: Sendable {
    let tasks: Mutex<[Int]>
    let workers = Mutex<Set<Int>>([])
    /// Workers inside a task right now, and whether one was there twice.
    let busy = Mutex<(Set<Int>, Bool)>(([], false))

    init(tasks: Int) { self.tasks = Mutex([Int](repeating: 0, count: tasks)) }

    func run(_ task: Int, _ worker: Int) {
        busy.withLock { if !$0.0.insert(worker).inserted { $0.1 = true } }
        tasks.withLock { $0[task] += 1 }
        _ = workers.withLock { $0.insert(worker) }
        _ = busy.withLock { $0.0.remove(worker) }
    }

    func expectAllOnce(workers limit: Int) {
        #expect(tasks.withLock { $0.allSatisfy { $0 == 1 } })
        #expect(workers.withLock { $0.allSatisfy { $0 >= 0 && $0 < limit } })
        #expect(!busy.withLock { $0.1 }, "a worker ran two tasks at once")
    }
}

@Suite struct HostTests {
    @Test(arguments: [1, 2, 3, 16], [0, 1, 2, 15, 5000]) func everyTaskOnce(workers: Int, tasks: Int) throws {
        let host = try KernelHost.openMP(workers: workers)
        #expect(host.workers == workers)
        let tally = Tally(tasks: tasks)
        host.withParallelFor(tasks: tasks) { tally.run($0, $1) }
        tally.expectAllOnce(workers: workers)
    }

    @Test func serialHostRunsInOrderAsWorkerZero() throws {
        let host = try KernelHost.serial()
        #expect(host.workers == 1)
        let seen = Mutex<[Int]>([])
        host.withParallelFor(tasks: 100) { task, worker in seen.withLock { $0.append(worker == 0 ? task : -1) } }
        #expect(seen.withLock { $0 } == Array(0..<100))
    }

    @Test func manyUserThreadsAtOnce() throws {
        let host = try KernelHost.openMP(workers: 4)
        let tallies = (0..<8).map { _ in Tally(tasks: 500) }
        DispatchQueue.concurrentPerform(iterations: 8) { thread in
            host.withParallelFor(tasks: 500) { tallies[thread].run($0, $1) }
        }
        for tally in tallies { tally.expectAllOnce(workers: 4) }
    }

    @Test func insideAnotherLoop() throws {
        let host = try KernelHost.openMP(workers: 3)
        let tallies = (0..<6).map { _ in Tally(tasks: 50) }
        host.withParallelFor(tasks: 6) { outer, _ in
            host.withParallelFor(tasks: 50) { tallies[outer].run($0, $1) }
        }
        for tally in tallies { tally.expectAllOnce(workers: 3) }
    }

    @Test func teamsSmallerThanAsked() async {
        await #expect(processExitsWith: .success) {
            setenv("OMP_THREAD_LIMIT", "2", 1)
            let host = try KernelHost.openMP(workers: 7)
            let sum = Atomic(0)
            host.withParallelFor(tasks: 1000) { task, worker in
                if worker < 7 { sum.add(task, ordering: .relaxed) }
            }
            exit(sum.load(ordering: .relaxed) == 499_500 ? 0 : 1)
        }
    }

    @Test func nestedTeams() async {
        await #expect(processExitsWith: .success) {
            setenv("OMP_MAX_ACTIVE_LEVELS", "4", 1)
            let host = try KernelHost.openMP(workers: 3)
            let sum = Atomic(0)
            host.withParallelFor(tasks: 10) { _, _ in
                host.withParallelFor(tasks: 100) { task, worker in
                    if worker < 3 { sum.add(task, ordering: .relaxed) }
                }
            }
            exit(sum.load(ordering: .relaxed) == 49_500 ? 0 : 1)
        }
    }

    @Test func defaultIsTheProcessorsAvailable() throws {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") })
        let ranges = line.split(separator: ":")[1].split(separator: ",").map { range in
            range.split(separator: "-").map { Int($0.trimmingCharacters(in: .whitespaces))! }
        }
        let available = ranges.reduce(0) { $0 + $1.last! - $1.first! + 1 }
        #expect(try KernelHost.openMP().workers == available)
    }

    @Test func impossibleWorkerCounts() {
        #expect(failure { _ = try KernelHost.openMP(workers: 1025) }?.status == .argument)
        #expect(failure { _ = try KernelHost.openMP(workers: -1) }?.status == .argument)
        #expect(failure { _ = try KernelHost.openMP(workers: .max) }?.status == .argument)
    }

    @Test func customPool() {
        var raw = lhk_host()
        raw.struct_size = UInt32(MemoryLayout<lhk_host>.size)
        raw.workers = 2
        raw.parallel_for = { _, tasks, task, context in
            for index in (0..<tasks).reversed() { task(context, index, UInt32(index % 2)) }
        }
        let tally = Tally(tasks: 10)
        KernelHost(raw).withParallelFor(tasks: 10) { tally.run($0, $1) }
        tally.expectAllOnce(workers: 2)
    }

    @Test func logNamesTheCandidates() throws {
        let lines = Mutex<[String]>([])
        _ = try makeCache(log: { level, text in lines.withLock { $0.append("\(level) \(text)") } })
        let told = lines.withLock { $0 }
        #expect(told.contains { $0.hasPrefix("debug naive: ") && $0.contains(" fits, estimated at ") })
        #expect(told.allSatisfy { !$0.contains("\n") })
    }
}
