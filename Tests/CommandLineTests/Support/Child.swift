// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// Everything about how a child process ended.
struct Outcome {
    let stdout, stderr: String
    /// The exit code, or 128 and the number of the signal that ended it.
    let code: Int32
    /// Killed because it took longer than it may.
    let timedOut: Bool

    /// What is printed on stdout, read as JSON.
    func json() throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(stdout.utf8)) as? [String: Any])
    }
}

/// The built executable, beside the executable of the tests.
let executable: String = {
    let tests = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(fileURLWithPath: tests ?? CommandLine.arguments[0]).deletingLastPathComponent().path + "/longhand"
}()

/// Runs `longhand` with `arguments` to its end.
///
/// - Parameters:
///   - environment: changes to that of the tests; nil removes a variable.
///   - input: what is on standard input.
///   - addressSpace: limit in MiB of what it may map, so that a large allocation fails the test.
///   - limit: seconds after which it is killed and the test fails.
func longhand(
    _ arguments: String..., environment: [String: String?] = [:], input: String = "", addressSpace: Int? = nil,
    executable: String = executable, limit: Double = 120
) throws -> Outcome {
    try longhand(
        arguments, environment: environment, input: input, addressSpace: addressSpace, executable: executable, limit: limit)
}

/// The same with an array of arguments.
func longhand(
    _ arguments: [String], environment: [String: String?] = [:], input: String = "", addressSpace: Int? = nil,
    executable: String = executable, limit: Double = 120
) throws -> Outcome {
    let limits = addressSpace.map { "ulimit -v \($0 << 10); " } ?? ""
    return try shell(
        limits + "exec \"$0\" \"$@\"", [executable] + arguments, environment: environment, input: input, limit: limit)
}

/// Runs a bash script with `$0`, `$1`, ... from `arguments`.
func shell(
    _ script: String, _ arguments: [String], environment: [String: String?] = [:], input: String = "", limit: Double = 120
) throws -> Outcome {
    try #require(
        FileManager.default.isExecutableFile(atPath: executable), "\(executable) is missing: build it with 'swift build'")
    let folder = try TemporaryFolder()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", script] + arguments
    process.environment = merged(environment)
    process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: folder.write(Data(input.utf8), to: "in")))
    let streams = try ["out", "err"].map { name in
        try FileHandle(forWritingTo: URL(fileURLWithPath: folder.write(Data(), to: name)))
    }
    (process.standardOutput, process.standardError) = (streams[0], streams[1])
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    try process.run()
    let timedOut = ended.wait(timeout: .now() + limit) == .timedOut
    if timedOut { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    func text(_ name: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(fileURLWithPath: folder.file(name))), as: UTF8.self)
    }
    let isSignal = process.terminationReason == .uncaughtSignal
    return Outcome(
        stdout: try text("out"), stderr: try text("err"), code: process.terminationStatus + (isSignal ? 128 : 0),
        timedOut: timedOut)
}

/// The environment of the tests without what would change the results, and with `changes`.
private func merged(_ changes: [String: String?]) -> [String: String] {
    var environment = ProcessInfo.processInfo.environment
    environment["LONGHAND_PLUGIN_PATH"] = nil
    for (name, value) in changes { environment[name] = value }
    return environment
}

/// Expects the way in which every wrong input ends: exit code 2, one line on stderr that says `reason`, nothing on
/// stdout, soon, and without mapping a gigabyte.
func expectRefusal(
    _ arguments: [String], _ reason: String, environment: [String: String?] = [:], input: String = "",
    executable: String = executable, location: SourceLocation = #_sourceLocation
) throws {
    let outcome = try longhand(
        arguments, environment: environment, input: input, addressSpace: 1024, executable: executable, limit: 20)
    expectRefused(outcome, reason, "\(arguments)", location: location)
}

/// Expects that of what a child has left.
func expectRefused(
    _ outcome: Outcome, _ reason: String, _ what: String = "", location: SourceLocation = #_sourceLocation
) {
    let said = Comment(rawValue: "\(what): code \(outcome.code), \(outcome.stderr.debugDescription)")
    #expect(!outcome.timedOut, said, sourceLocation: location)
    #expect(outcome.code == 2, said, sourceLocation: location)
    #expect(outcome.stdout == "", said, sourceLocation: location)
    #expect(outcome.stderr.hasPrefix("longhand: "), said, sourceLocation: location)
    #expect(outcome.stderr.hasSuffix("\n"), said, sourceLocation: location)
    #expect(outcome.stderr.split(separator: "\n", omittingEmptySubsequences: false).count == 2, said, sourceLocation: location)
    #expect(outcome.stderr.contains(reason), said, sourceLocation: location)
}

/// Expects an end without error.
func expectDone(_ outcome: Outcome, location: SourceLocation = #_sourceLocation) {
    #expect(!outcome.timedOut, sourceLocation: location)
    #expect(outcome.code == 0, "\(outcome.stderr)", sourceLocation: location)
}
