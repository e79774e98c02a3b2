// SPDX-License-Identifier: Apache-2.0
/// Sums of a tile by vpermb (VBMI), which looks up 64 bytes in a table of 64: three channels of 64 tokens at once. A part of
/// lhk_adamas_estimates_body.h.

/// The four bytes at `of`, of which byte i of `which` says one.
LHK_ALWAYS_INLINE __m512i LHK_NAME(spread4)(const uint8_t *of, __m512i which) {
    int32_t four;
    memcpy(&four, of, sizeof four);
    return _mm512_shuffle_epi8(_mm512_set1_epi32(four), which);
}

/// tables [groups][rows of the group, and one for the upper bits][64]
static void LHK_NAME(tables)(const uint8_t *weights, int64_t dim, uint8_t *tables) {
    static const uint8_t none[4] = {0};
    const __m512i first = _mm512_set1_epi32(0x03020100), two = _mm512_set1_epi64(0x0101010100000000);
    const __m512i second = _mm512_add_epi8(two, _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0x02020202, 0x02020202)));
    const __m512i third = _mm512_inserti64x4(_mm512_inserti32x4(_mm512_setzero_si512(), _mm_set1_epi8(1), 1),
                                             _mm256_inserti128_si256(_mm256_set1_epi8(2), _mm_set1_epi8(3), 1), 1);
    for (int64_t g = 0; g < lhk_adamas_groups(dim); g++, weights += 3 * 16) {
        int64_t count = lhk_adamas_group_rows(dim, g);
        for (int64_t b = 0; b <= count; b++, tables += 64) {
            const uint8_t *of[3];
            for (int64_t s = 0; s < 3; s++) {
                int64_t row = b < count ? b : s, slot = b < count ? s : 3;
                of[s] = row < count ? weights + row * 16 + slot * 4 : none;
            }
            __m512i sum = _mm512_add_epi8(LHK_NAME(spread4)(of[0], first), LHK_NAME(spread4)(of[1], second));
            _mm512_storeu_si512(tables, _mm512_add_epi8(sum, LHK_NAME(spread4)(of[2], third)));
        }
    }
}

/// Two tiles, which lie `apart` bytes apart, so that a table is loaded once for both.
#define LHK_ADAMAS_TILES 2

/// Adds what the `count` rows of a group stand for to the sums of even and odd bytes.
LHK_ALWAYS_INLINE void LHK_NAME(add_group)(const int rows, const int count, const uint8_t *codes, int64_t apart,
                                           const uint8_t *tables, int64_t stride, int64_t ahead, __m512i (*even)[2],
                                           __m512i (*odd)[2]) {
    __m512i w[2][4];
    LHK_UNROLL
    for (int i = 0; i < 2; i++) {
        const uint8_t *from = codes + i * apart;
        LHK_UNROLL
        for (int b = 0; b < count; b++) {
            w[i][b] = _mm512_loadu_si512(from + LHK_ADAMAS_TILE * b);
            LHK_ADAMAS_FETCH(from + LHK_ADAMAS_TILE * b + ahead);
        }
        __m512i last = _mm512_and_si512(_mm512_srli_epi16(w[i][0], 6), _mm512_set1_epi8(3));
        if (count > 1) last = _mm512_ternarylogic_epi64(last, _mm512_srli_epi16(w[i][1], 4), _mm512_set1_epi8(12), 0xf8);
        if (count > 2) last = _mm512_ternarylogic_epi64(last, _mm512_srli_epi16(w[i][2], 2), _mm512_set1_epi8(48), 0xf8);
        w[i][count] = last;
    }
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        const uint8_t *t = tables + r * stride;
        __m512i sum[2], table = _mm512_loadu_si512(t);
        sum[0] = _mm512_permutexvar_epi8(w[0][0], table);
        sum[1] = _mm512_permutexvar_epi8(w[1][0], table);
        LHK_UNROLL
        for (int b = 1; b <= count; b++) {
            table = _mm512_loadu_si512(t + 64 * b);
            sum[0] = _mm512_add_epi8(sum[0], _mm512_permutexvar_epi8(w[0][b], table));
            sum[1] = _mm512_add_epi8(sum[1], _mm512_permutexvar_epi8(w[1][b], table));
        }
        LHK_UNROLL
        for (int i = 0; i < 2; i++) {
            even[r][i] = _mm512_add_epi16(even[r][i], sum[i]);  // and 256 times the odd ones, which are taken off in the end
            odd[r][i] = _mm512_add_epi16(odd[r][i], _mm512_srli_epi16(sum[i], 8));
        }
    }
}

/// sums [rows][128 tokens] of two tiles; what lies `ahead` bytes on is fetched.
LHK_ALWAYS_INLINE void LHK_NAME(sums)(const int rows, const uint8_t *tile, int64_t dim, const uint8_t *tables,
                                      int64_t stride, int64_t ahead, uint16_t *sums) {
    int64_t whole = lhk_adamas_rows(dim) / 3, rest = lhk_adamas_rows(dim) % 3, apart = lhk_adamas_tile_bytes(dim);
    __m512i even[4][2], odd[4][2];
    LHK_UNROLL
    for (int r = 0; r < rows; r++) even[r][0] = odd[r][0] = even[r][1] = odd[r][1] = _mm512_setzero_si512();
    for (int64_t g = 0; g < whole; g++, tile += 3 * LHK_ADAMAS_TILE, tables += 4 * 64)
        LHK_NAME(add_group)(rows, 3, tile, apart, tables, stride, ahead, even, odd);
    if (rest == 1) LHK_NAME(add_group)(rows, 1, tile, apart, tables, stride, ahead, even, odd);
    if (rest == 2) LHK_NAME(add_group)(rows, 2, tile, apart, tables, stride, ahead, even, odd);
    LHK_UNROLL
    for (int r = 0; r < rows; r++) {
        LHK_UNROLL
        for (int i = 0; i < 2; i++, sums += LHK_ADAMAS_TILE) {
            _mm512_storeu_si512(sums, _mm512_sub_epi16(even[r][i], _mm512_slli_epi16(odd[r][i], 8)));
            _mm512_storeu_si512(sums + 32, odd[r][i]);
        }
    }
}
