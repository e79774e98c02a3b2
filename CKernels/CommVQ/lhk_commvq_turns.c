// SPDX-License-Identifier: Apache-2.0
/// The turns that rotary positions give to a key: position t is token t % 64 of block u % 64 of far block u / 64, and its
/// turn the product of three. A cache of any length so takes two small tables and one entry per 4096 tokens.
#include <lhk/rope_frequencies.h>

#include "lhk_commvq_store.h"

/// Cosines, then sines, of `angle` times each frequency.
static void put(float *to, uint32_t pairs, const double *frequencies, double position) {
    for (uint32_t j = 0; j < pairs; j++) {
        to[j] = (float)cos(position * frequencies[j]);
        to[pairs + j] = (float)sin(position * frequencies[j]);
    }
}

static void put_bytes(const double *frequencies, uint32_t pairs, lhk_commvq_turn_bytes *out) {
    for (uint32_t j = 0; j < pairs; j++)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            const int c = (int)lrint(127 * cos(t * frequencies[j])), s = (int)lrint(127 * sin(t * frequencies[j]));
            out[j].x[t][0] = out[j].y[t][1] = (int8_t)c;
            out[j].x[t][1] = (int8_t)-s;
            out[j].y[t][0] = (int8_t)s;
            out[j].x_bias[t] = (int16_t)(LHK_COMMVQ_KEY_BIAS * (c - s));
            out[j].y_bias[t] = (int16_t)(LHK_COMMVQ_KEY_BIAS * (s + c));
        }
}

void lhk_commvq_pair_channels(uint32_t head_dim, uint32_t rotated, uint32_t interleaved, uint16_t *out) {
    for (uint32_t j = 0; j < head_dim / 2; j++) {
        bool halves = j < rotated / 2 && !interleaved;  // dimensions that do not turn are paired as neighbours
        out[j] = (uint16_t)(halves ? j : 2 * j);
        out[head_dim / 2 + j] = (uint16_t)(halves ? j + rotated / 2 : 2 * j + 1);
    }
}

lhk_status lhk_commvq_fill_turns(const lhk_problem *problem, bool random, lhk_instance *store, lhk_error *error) {
    const lhk_commvq_layout l = lhk_commvq_layout_of(lhk_commvq(store));
    const lhk_position_params plain = {.struct_size = sizeof plain, .base = 10000};
    const lhk_position_params *params = problem->position ? problem->position : &plain;
    if (random && params->base <= 1) params = &plain;
    double frequencies[LHK_ROPE_MOST_DIMS / 2] = {0}, magnitude;
    uint32_t dims, interleaved;
    // The magnitude (YaRN) is of no concern: it scales keys, and codes hold directions.
    lhk_status status = lhk_rope_frequencies(params, l.dim_k, frequencies, &dims, &interleaved, &magnitude, error);
    if (status) return status;
    lhk_commvq_pair_channels(l.dim_k, dims, interleaved, (uint16_t *)(void *)lhk_commvq_at(store, l.channels));
    int16_t *token = (int16_t *)(void *)lhk_commvq_at(store, l.turn_token);
    float *rows = lhk_commvq_floats_at(store, l.turn_rows);
    for (uint32_t j = 0; j < l.pairs; j++)
        for (int t = 0; t < LHK_COMMVQ_BLOCK; t++) {
            token[j * 128 + t] = (int16_t)lrint(16384 * cos(t * frequencies[j]));
            token[j * 128 + 64 + t] = (int16_t)lrint(16384 * sin(t * frequencies[j]));
            rows[t * 2 * l.pairs + j] = (float)token[j * 128 + t] * 0x1p-14f;
            rows[(t * 2 + 1) * l.pairs + j] = (float)token[j * 128 + 64 + t] * 0x1p-14f;
        }
    if (lhk_commvq(store)->product) put_bytes(frequencies, l.pairs, (void *)lhk_commvq_at(store, l.turn_bytes));
    float *block = lhk_commvq_floats_at(store, l.turn_block);
    float *far = lhk_commvq_floats_at(store, l.turn_far);
    for (int u = 0; u < LHK_COMMVQ_TURNS; u++) put(block + u * 2 * l.pairs, l.pairs, frequencies, 64.0 * u);
    for (int64_t f = 0; f <= lhk_commvq(store)->capacity / 4096; f++)
        put(far + f * 2 * l.pairs, l.pairs, frequencies, 4096.0 * (double)f);
    return LHK_OK;
}
