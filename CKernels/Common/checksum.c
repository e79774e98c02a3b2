// SPDX-License-Identifier: Apache-2.0
#include "checksum.h"

#include <string.h>

static const uint64_t multiplier = UINT64_C(0x9e3779b97f4a7c15);  // 2^64 / golden ratio, odd

/// A bijection of `state` for every word and of the word for every state, so a changed word is never absorbed.
static inline uint64_t mix(uint64_t state, uint64_t word) {
    state = (state ^ word) * multiplier;
    return state ^ (state >> 29);
}

uint64_t lhk_checksum(const void *data, size_t count) {
    const uint8_t *bytes = data;
    // Four independent chains hide the latency of the multiplication.
    uint64_t lanes[4] = {1, 2, 3, 4}, words[4];
    size_t at = 0;
    for (; count - at >= sizeof words; at += sizeof words) {
        memcpy(words, bytes + at, sizeof words);
        for (int i = 0; i < 4; i++) lanes[i] = mix(lanes[i], words[i]);
    }
    uint64_t sum = (uint64_t)count;
    for (int i = 0; i < 4; i++) sum = mix(sum, lanes[i]);
    while (at < count) {
        uint64_t word = 0;
        size_t rest = count - at < 8 ? count - at : 8;
        memcpy(&word, bytes + at, rest);
        sum = mix(sum, word);
        at += rest;
    }
    return mix(sum, sum >> 32);
}
