// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// A method and its options, `name[:key=value[,key=value...]]`, split; the C library checks what they say.
package struct MethodSpecification {
    package let name: String
    package let options: [(key: String, value: String)]

    /// - Parameter role: the error's first word.
    /// - Throws: `LonghandError` (`.argument`) for an option that is not of the form key=value.
    package init(_ text: String, role: String) throws(LonghandError) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        var options: [(key: String, value: String)] = []
        for option in parts.count == 2 ? parts[1].split(separator: ",", omittingEmptySubsequences: false) : [] {
            let pair = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, !pair[0].isEmpty, !pair[1].isEmpty else {
                throw LonghandError(.argument, "\(role) '\(text)': '\(option)' is not an option of the form key=value")
            }
            options.append((String(pair[0]), String(pair[1])))
        }
        name = parts.count == 2 ? String(parts[0]) : text
        self.options = options
    }

    func lowerOptions(into arena: inout Arena) -> [lhk_option] {
        options.map { lhk_option(key: arena.lend($0.key), value: arena.lend($0.value)) }
    }
}
