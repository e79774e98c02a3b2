// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Glibc
import Longhand
import LonghandLayers

/// What a session computes: the layers over a pass of tokens, and logits. Every operator goes through `measure`.
extension Session {
    /// One pass through all layers, layer by layer and in each of them block by block.
    func run(_ tokens: ArraySlice<Int32>) throws {
        try embed(tokens)
        for index in 0..<depth {
            var done = 0
            while done < tokens.count {
                let rows = Self.rows(left: tokens.count - done, most: block)
                let residual = buffers.residual + done * model.shape.width
                try attention(index, residual, rows: rows)
                try feedForward(index, residual, rows: rows)
                done += rows
            }
        }
    }

    /// Logits [rows][vocabulary] of some rows of the last pass, at most a block of them.
    func project(_ rows: Range<Int>, into logits: UnsafeMutablePointer<Float>) throws {
        let shape = model.shape, b = buffers
        norm(nil, b.residual + rows.lowerBound * shape.width, model.weights.outputNorm, b.normed, rows: rows.count)
        try linear(
            .logits, nil, b.normed, model.weights.output, logits, rows: rows.count)
        if let cap = shape.logitSoftcap {
            let count = rows.count * shape.vocabularySize
            measure(.logits, work: .softcap(count)) { for i in 0..<count { logits[i] = cap * tanhf(logits[i] / cap) } }
        }
    }

    private func embed(_ tokens: ArraySlice<Int32>) throws {
        let shape = model.shape, embedding = model.weights.embedding, table = model.file.bytes(of: embedding)
        let rowBytes = table.count / shape.vocabularySize
        try measure(.embed, work: .embed(rows: tokens.count, columns: shape.width, rowBytes: rowBytes)) {
            try tokens.withUnsafeBufferPointer { ids in
                try LayerError.check {
                    lhk_layer_embed(
                        isa, Int32(embedding.type.rawValue), table.baseAddress!, shape.vocabularySize, shape.width,
                        ids.baseAddress!, ids.count, buffers.residual, $0)
                }
            }
            guard shape.embeddingScale != 1 else { return }
            lhk_layer_scale(isa, buffers.residual, shape.embeddingScale, buffers.residual, tokens.count * shape.width)
        }
    }

    private func attention(_ index: Int, _ residual: UnsafeMutablePointer<Float>, rows: Int) throws {
        let layer = model.shape.layers[index], w = model.weights.layers[index], b = buffers
        let q = layer.queryHeads * layer.headDimK, k = layer.kvHeads * layer.headDimK, v = layer.kvHeads * layer.headDimV
        let stride = q + k + v
        norm(index, residual, w.attentionNorm, b.normed, rows: rows)
        try linear(.qkv, index, b.normed, w.qkv, b.qkv, rows: rows)
        if let bias = w.qkvBias {
            measure(.qkv, index, work: .add(rows * stride)) {
                for row in 0..<rows { lhk_layer_add(isa, b.qkv + row * stride, bias, b.qkv + row * stride, stride) }
            }
        }
        if let queryNorm = w.queryNorm, let keyNorm = w.keyNorm {
            normHeads(index, b.qkv, queryNorm, rows: rows, stride: stride, heads: layer.queryHeads, dim: layer.headDimK)
            normHeads(index, b.qkv + q, keyNorm, rows: rows, stride: stride, heads: layer.kvHeads, dim: layer.headDimK)
        }
        func view(_ offset: Int, heads: Int, dim: Int) throws -> Tensor {
            try Tensor(b.qkv + offset, shape: [rows, heads, dim], strides: [stride, dim, 1])
        }
        let projected = try ProjectedRows(
            layer: index, first: cache.length(layer: index), rows: rows,
            queries: view(0, heads: layer.queryHeads, dim: layer.headDimK),
            keys: view(q, heads: layer.kvHeads, dim: layer.headDimK),
            values: view(q + k, heads: layer.kvHeads, dim: layer.headDimV))
        try observer?(projected)
        try append(projected)
        try attend(projected, out: Tensor(b.attended, shape: [rows, layer.queryHeads, layer.headDimV]))
        try linear(.output, index, b.attended, w.attentionOutput, b.normed, rows: rows)
        if let post = w.attentionPostNorm { norm(index, b.normed, post, b.normed, rows: rows) }
        add(index, b.normed, to: residual, rows: rows)
    }

    private func feedForward(_ index: Int, _ residual: UnsafeMutablePointer<Float>, rows: Int) throws {
        let w = model.weights.layers[index], hidden = model.shape.feedForwardWidth, b = buffers
        norm(index, residual, w.feedForwardNorm, b.normed, rows: rows)
        try linear(.gateUp, index, b.normed, w.gateUp, b.gateUp, rows: rows)
        let gate = model.shape.architecture == .gemma3 ? LHK_GATE_GELU_TANH : LHK_GATE_SILU
        measure(.gate, index, work: .gate(rows: rows, columns: hidden, tanh: gate == LHK_GATE_GELU_TANH)) {
            lhk_run_gate(model.host.raw, gate, b.gateUp, b.hidden, rows, hidden)
        }
        try linear(.down, index, b.hidden, w.down, b.normed, rows: rows)
        if let post = w.feedForwardPostNorm { norm(index, b.normed, post, b.normed, rows: rows) }
        add(index, b.normed, to: residual, rows: rows)
    }

    private var isa: lhk_isa { model.host.raw.pointee.isa }

    private func add(_ index: Int, _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, rows: Int) {
        let width = model.shape.width
        measure(.residual, index, work: .add(rows * width)) { lhk_run_add(model.host.raw, y, x, y, rows, width) }
    }

    private func norm(
        _ index: Int?, _ x: UnsafePointer<Float>, _ w: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>, rows: Int
    ) {
        let width = model.shape.width
        measure(.norm, index, work: .norm(rows: rows, columns: width)) {
            lhk_run_rms_norm(model.host.raw, x, width, w, model.shape.normEpsilon, out, width, rows, width)
        }
    }

    private func normHeads(
        _ index: Int, _ x: UnsafeMutablePointer<Float>, _ w: UnsafePointer<Float>, rows: Int, stride: Int, heads: Int,
        dim: Int
    ) {
        measure(.norm, index, work: .norm(rows: rows * heads, columns: dim)) {
            lhk_run_head_norm(model.host.raw, x, stride, w, model.shape.normEpsilon, rows, heads, dim)
        }
    }

    private func linear(
        _ op: Operator, _ index: Int?, _ x: UnsafePointer<Float>, _ w: WeightMatrix, _ y: UnsafeMutablePointer<Float>,
        rows: Int
    ) throws {
        let work = OperatorWork.linear(rows: rows, outputs: w.outputs, inputs: w.inputs, weightBytes: w.bytes)
        try measure(op, index, work: work) {
            try w.multiply(x, rows: rows, into: y, host: model.host, precision: model.linear, workspace: buffers.linear)
        }
    }
}
