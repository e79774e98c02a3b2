// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

struct CalibrateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "calibrate", abstract: "Find the parameters of a method from a trace of a model.",
        discussion: """
            The file that is written goes with the method as the option calibration=FILE, as in \
            'longhand run --prefill sale:calibration=FILE'.
            """,
        subcommands: [CalibrateCommVQCommand.self, CalibrateSaleCommand.self])
}
