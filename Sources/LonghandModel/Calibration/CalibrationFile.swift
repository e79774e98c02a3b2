// SPDX-License-Identifier: Apache-2.0
import Longhand

/// What calibration found for a method: a safetensors file whose tensors `layers.N.METHOD.NAME` are parameters of layer N.
public struct CalibrationFile {
    /// In the metadata of every such file.
    static let format = "longhand.calibration/1"

    public let file: SafetensorsFile
    /// The parameters of each layer, by its number.
    public let layers: [Int: [CalibratedParameter]]

    /// Reads the parameters of `method`. Throws `SafetensorsError` where the file is missing, malformed or of another kind or
    /// method.
    public init(path: String, method: String) throws {
        let file = try SafetensorsFile(path: path)
        guard file.metadata["format"] == Self.format else {
            throw SafetensorsError(path: path, reason: "is no calibration: its metadata have no format \"\(Self.format)\"")
        }
        var layers: [Int: [CalibratedParameter]] = [:]
        for tensor in file.tensors {
            let parts = tensor.name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3, parts[0] == "layers", let layer = Int(parts[1]), layer >= 0 else {
                throw SafetensorsError(path: path, reason: "the tensor \"\(tensor.name.printable())\" belongs to no layer")
            }
            guard parts[2].hasPrefix("\(method).") else { continue }
            layers[layer, default: []].append(
                CalibratedParameter(name: String(parts[2]), shape: tensor.shape, values: try file.floats(of: tensor)))
        }
        guard !layers.isEmpty else {
            throw SafetensorsError(path: path, reason: "the calibration has nothing for the method '\(method.printable())'")
        }
        self.file = file
        self.layers = layers
    }
}

extension CacheLayer {
    /// The layer without what calibration found.
    var uncalibrated: CacheLayer {
        var layer = self
        layer.parameters = []
        return layer
    }
}

extension CacheConfiguration {
    /// Gives every layer the parameters of those of its methods that have the option `calibration=FILE`, whatever their role.
    ///
    /// - Throws: `SafetensorsError` for a bad file or one for a model of more layers; `ModelError` where two roles of a layer
    ///   have one method with different files; `LonghandError` for stores of layers that are not there.
    mutating func loadCalibrations() throws {
        var files: [String: CalibrationFile] = [:]
        for (layer, store) in try stores().enumerated() {
            var loaded: [String: String] = [:]
            for specification in [store, prefill, decode, attention, position] {
                guard let (method, path) = Self.calibration(of: specification) else { continue }
                if let other = loaded[method] {
                    guard other == path else { throw ModelError("'\(method)' has two calibrations, \(other) and \(path)") }
                    continue
                }
                loaded[method] = path
                let key = "\(method) \(path)"
                let file = try files[key] ?? calibration(path, method)
                files[key] = file
                layers[layer].parameters += file.layers[layer] ?? []
            }
        }
    }

    private func calibration(_ path: String, _ method: String) throws -> CalibrationFile {
        let file = try CalibrationFile(path: path, method: method)
        if let last = file.layers.keys.max(), last >= layers.count {
            throw SafetensorsError(
                path: path, reason: "the calibration is for a model of at least \(last + 1) layers, this one has \(layers.count)")
        }
        return file
    }

    /// Method and file of a specification with the option `calibration`; what else it says is checked where methods are bound.
    private static func calibration(of specification: String) -> (method: String, path: String)? {
        guard let parsed = try? MethodSpecification(specification, role: "method") else { return nil }
        return parsed.options.first { $0.key == "calibration" }.map { (parsed.name, $0.value) }
    }
}
