// SPDX-License-Identifier: Apache-2.0
// From the rows of a GGUF tensor to panels. Layouts of the file: see the dequantisation of the layers.
#include "lhk_packed_format.h"

const lhk_packed_format *lhk_packed_find(int32_t type) {
#define LHK_ENTRY(name, ...) LHK_PACKED_FORMAT(name, __VA_ARGS__),
    static const lhk_packed_format formats[] = {LHK_PACKED_FORMATS(LHK_ENTRY)};
#undef LHK_ENTRY
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].type == type) return &formats[i];
    return NULL;
}

/// What a row has in a block of 32: its codes one by one, and the bytes of its scales.
typedef struct row_block {
    uint8_t codes[LHK_BLOCK];
    uint8_t scales[4];  ///< f16 d, m; or bytes
    uint8_t head[4];    ///< f16 d, dmin
} row_block;

static void nibbles_of_32(const uint8_t *q, uint8_t *codes) {
    for (int i = 0; i < 16; i++) {
        codes[i] = q[i] & 15;
        codes[16 + i] = q[i] >> 4;
    }
}

/// Blocks of 32: scales of `scale_bytes`, fifth bits where there are any, nibbles or bytes.
static void read_simple(const lhk_packed_format *f, const uint8_t *source, size_t b, row_block *out) {
    const uint8_t *at = source + b * f->source_bytes;
    const size_t scale_bytes = f->scales == LHK_SCALES_F16_MIN ? 4 : 2;
    memcpy(out->scales, at, scale_bytes);
    at += scale_bytes;
    if (f->code_bits == 8) {
        memcpy(out->codes, at, LHK_BLOCK);
        return;
    }
    uint32_t fifth = 0;
    if (f->code_bits == 5) {
        memcpy(&fifth, at, 4);
        at += 4;
    }
    nibbles_of_32(at, out->codes);
    for (int i = 0; i < LHK_BLOCK; i++) out->codes[i] |= (uint8_t)((fifth >> i & 1) << 4);
}

/// Q4_K and Q5_K: block g of 8 of a superblock.
static void read_k_min(const lhk_packed_format *f, const uint8_t *source, size_t b, row_block *out) {
    const uint8_t *super = source + b / 8 * f->source_bytes, *s = super + 4;
    const size_t g = b % 8;
    memcpy(out->head, super, 4);
    if (g < 4) {
        out->scales[0] = s[g] & 63;
        out->scales[1] = s[g + 4] & 63;
    } else {
        out->scales[0] = (uint8_t)((s[g + 4] & 15) | (s[g - 4] >> 6) << 4);
        out->scales[1] = (uint8_t)((s[g + 4] >> 4) | (s[g] >> 6) << 4);
    }
    const uint8_t *high = super + 16, *q = super + (f->code_bits == 5 ? 48 : 16) + 32 * (g / 2);
    for (int i = 0; i < LHK_BLOCK; i++) {
        out->codes[i] = q[i] >> (4 * (g & 1)) & 15;
        if (f->code_bits == 5) out->codes[i] |= (uint8_t)((high[i] >> g & 1) << 4);
    }
}

static void read_q6_k(const lhk_packed_format *f, const uint8_t *source, size_t b, row_block *out) {
    const uint8_t *super = source + b / 8 * f->source_bytes;
    const size_t t = b % 8;
    const uint8_t *low = super + 64 * (t / 4) + 32 * (t & 1), *high = super + 128 + 32 * (t / 4);
    for (int i = 0; i < LHK_BLOCK; i++)
        out->codes[i] = (uint8_t)((low[i] >> (4 * (t / 2 & 1)) & 15) | (high[i] >> (2 * (t & 3)) & 3) << 4);
    memcpy(out->scales, super + 192 + 2 * t, 2);
    memcpy(out->head, super + 208, 2);
}

static void write_codes(const lhk_packed_format *f, const uint8_t *codes, size_t row, uint8_t *block) {
    for (size_t c = 0; c < LHK_BLOCK; c++) {
        const size_t step = c / 4, lane = 4 * row + c % 4;
        if (f->code_bits == 8) {
            block[step * LHK_STEP_BYTES + lane] = codes[c];
            continue;
        }
        block[step / 2 * LHK_STEP_BYTES + lane] |= (uint8_t)((codes[c] & 15) << (step & 1 ? 4 : 0));
        if (f->code_bits == 5) block[4 * LHK_STEP_BYTES + 8 * step + lane / 8] |= (uint8_t)(codes[c] >> 4 << (lane & 7));
    }
}

/// Scales of a row lie `size` bytes from the next row's, and a second value behind the first of all rows.
static void write_scales(const uint8_t *values, size_t size, size_t count, size_t row, uint8_t *at) {
    for (size_t i = 0; i < count; i++) memcpy(at + (i * LHK_PANEL_ROWS + row) * size, values + i * size, size);
}

/// Packs one row of a panel that was zeros.
static void pack_row(const lhk_packed_format *f, const uint8_t *source, size_t blocks, size_t row, uint8_t *panel) {
    uint8_t *at = panel, *head = panel;
    for (size_t b = 0; b < blocks; b++) {
        row_block values = {0};
        if (f->scales == LHK_SCALES_K_MIN) read_k_min(f, source, b, &values);
        else if (f->scales == LHK_SCALES_K16) read_q6_k(f, source, b, &values);
        else read_simple(f, source, b, &values);
        if (b % f->group_blocks == 0) {
            head = at;
            at += f->head_bytes;
            write_scales(values.head, 2, f->head_bytes / 32, row, head);
        }
        write_codes(f, values.codes, row, at);
        const size_t scale_size = f->head_bytes ? 1 : 2, count = (f->block_bytes - f->code_bytes) / (scale_size * LHK_PANEL_ROWS);
        write_scales(values.scales, scale_size, count, row, at + f->code_bytes);
        at += f->block_bytes;
    }
}

typedef struct pack_job {
    const lhk_packed_format *format;
    const uint8_t *source;
    uint8_t *packed;
    size_t n, k, row_bytes;
} pack_job;

/// One panel; rows past n stay zeros, which give zeros.
static void pack_task(void *context, int64_t panel, uint32_t worker) {
    (void)worker;
    const pack_job *job = context;
    const size_t bytes = lhk_panel_bytes(job->format, job->k), first = (size_t)panel * LHK_PANEL_ROWS;
    uint8_t *to = job->packed + (size_t)panel * bytes;
    memset(to, 0, bytes);
    for (size_t row = 0; row < LHK_PANEL_ROWS && first + row < job->n; row++)
        pack_row(job->format, job->source + (first + row) * job->row_bytes, job->k / LHK_BLOCK, row, to);
}

lhk_status lhk_packed_bytes(int32_t type, size_t n, size_t k, size_t *bytes, lhk_error *error) {
    const lhk_packed_format *f = lhk_packed_find(type);
    if (!f) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 0, "tensor type %d is not packed", type);
    if (k % f->source_block)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 2, "%zu inputs are not whole blocks of %zu (tensor type %d)", k,
                        f->source_block, type);
    // A panel has less than 2^5 bytes per input, and a row of the file less.
    if (k > (SIZE_MAX >> 6) || n > SIZE_MAX - LHK_PANEL_ROWS ||
        __builtin_mul_overflow((n + LHK_PANEL_ROWS - 1) / LHK_PANEL_ROWS, lhk_panel_bytes(f, k), bytes))
        return lhk_fail(error, LHK_ERROR_OVERFLOW, 1, "%zu rows of %zu weights are more than memory can hold", n, k);
    return LHK_OK;
}

lhk_status lhk_run_pack(const lhk_host *host, int32_t type, size_t n, size_t k, const void *source, void *packed,
                        lhk_error *error) {
    size_t bytes;
    lhk_status status = lhk_packed_bytes(type, n, k, &bytes, error);
    if (status) return status;
    const lhk_packed_format *f = lhk_packed_find(type);
    pack_job job = {.format = f, .source = source, .packed = packed, .n = n, .k = k,
                    .row_bytes = k / f->source_block * f->source_bytes};
    lhk_parallel_for(host, (int64_t)((n + LHK_PANEL_ROWS - 1) / LHK_PANEL_ROWS), pack_task, &job);
    return LHK_OK;
}
