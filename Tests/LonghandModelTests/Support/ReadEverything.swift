// SPDX-License-Identifier: Apache-2.0

@testable import LonghandModel

extension GGUFFile {
    /// Reads all arrays and the data of all tensors, so that whatever lies outside the file is touched. False: a tensor
    /// has more or fewer bytes than its rows.
    func readEverything() -> Bool {
        for case .array(let array) in metadata.values {
            var total = 0
            array.forEachString { total += $1.reduce(0) { $0 + Int($1) } }
            _ = (array.int32s(), array.floats(), array.bools(), total)
        }
        return tensors.allSatisfy { tensor in
            let data = bytes(of: tensor)
            _ = data.reduce(0) { $0 &+ $1 }
            return data.count == tensor.rowCount * tensor.bytesPerRow
        }
    }
}
