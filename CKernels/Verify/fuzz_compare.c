// SPDX-License-Identifier: Apache-2.0
/// Compares results with the reference: class first, then distance, then the mean over all.
#include <inttypes.h>
#include <lhk/support.h>

#include "fuzz_bounds.h"
#include "fuzz_check.h"

/// Largest share of the reference's energy that errors may have, as a net for small errors everywhere. For plain values
/// only: 8-bit rounding gives some 1e-5, f32 arithmetic some 1e-12. Channels of an 8-bit query err by some 0.008 of their
/// deviation, which a score multiplies by scale sqrt(dim).
static double energy_limit(const fuzz_check *check) {
    const fuzz_problem *p = &check->c->problem;
    double limit = check->arithmetic == FUZZ_ARITHMETIC_F32 ? 1e-9 : 1e-4;
    double scale = p->scale > 0 && !p->no_params ? p->scale : 1 / sqrt((double)p->dim_k);
    bool coarse = check->arithmetic == FUZZ_ARITHMETIC_CODES || check->arithmetic == FUZZ_ARITHMETIC_I8;
    if (coarse) limit += 3e-4 * scale * scale * (double)p->dim_k;
    if (p->out_dtype == LHK_DTYPE_BF16) limit += 1e-5;
    if (p->out_dtype == LHK_DTYPE_F16) limit += 1e-6;
    return limit;
}

static const char *verdict(double got, double expected, double tolerance) {
    if (isfinite(expected) && !isfinite(got)) return "is not finite";
    if (!isfinite(expected)) return isfinite(got) ? "should not be finite" : NULL;
    return fabs(got - expected) <= tolerance ? NULL : "is off";
}

static bool compare_lse(fuzz_check *check, const lhk_fuzz_args *args, int64_t row, int64_t head, int64_t index,
                        const char *what) {
    float got = ((const float *)args->lse.data)[row * args->lse.stride[0] + head * args->lse.stride[1]];
    double expected = check->c->expected_lse[index], tolerance = check->c->lse_tolerance[check->arithmetic][index];
    if (isnan(tolerance)) return true;
    bool good = isnan(expected)                  ? isnan(got)
                : isinf(expected)                ? got == expected
                                                 : fabs(got - expected) <= tolerance;
    if (!good)
        fuzz_fail(check, what, "lse of row %" PRId64 " head %" PRId64 ": %.9g, expected %.9g, tolerance %.3g", row, head,
                  (double)got, expected, tolerance);
    return good;
}

static bool compare_element(fuzz_check *check, double got, int64_t index, double *error, lhk_dtype dtype, int64_t row,
                            int64_t head, int64_t x, const char *what) {
    double expected = check->c->expected[index], tolerance = check->c->tolerance[check->arithmetic][index];
    if (isnan(tolerance) || (dtype == LHK_DTYPE_F16 && fabs(expected) > 60000)) return true;
    tolerance += fuzz_storage_error(dtype, fabs(expected) + tolerance);
    const char *fault = verdict(got, expected, tolerance);
    if (!fault) {
        *error = isfinite(expected) ? got - expected : 0;
        if (dtype == LHK_DTYPE_F32 && tolerance > 0)
            check->report->worst = fmax(check->report->worst, fabs(*error) / tolerance);
        return true;
    }
    fuzz_fail(check, what,
              "out of row %" PRId64 " head %" PRId64 " dim %" PRId64 " %s: %.9g, expected %.9g, tolerance %.3g", row, head,
              x, fault, got, expected, tolerance);
    return false;
}

bool fuzz_compare(fuzz_check *check, const lhk_fuzz_args *args, int64_t first_row, const char *what) {
    const lhk_tensor *out = &args->out;
    int64_t heads = out->shape[1], dim = out->shape[2], count = 0;
    if (check->c->subject->unbounded) return true;
    double error_energy = 0, energy = 0;
    for (int64_t row = 0; row < out->shape[0]; row++)
        for (int64_t head = 0; head < heads; head++) {
            int64_t index = (first_row + row) * heads + head;
            if (args->lse.data && !compare_lse(check, args, row, head, index, what)) return false;
            for (int64_t x = 0; x < dim; x++) {
                double got = (double)lhk_load_element(lhk_row(out, row, head), out->dtype, x), error = 0;
                if (!compare_element(check, got, index * dim + x, &error, out->dtype, row, head, x, what)) return false;
                double expected = check->c->expected[index * dim + x];
                error_energy += error * error;
                energy += isfinite(expected) ? expected * expected : 0;
                count++;
            }
        }
    const fuzz_problem *p = &check->c->problem;
    bool plain = p->values <= FUZZ_NORMAL && !p->specials && !p->selection && p->scale < 0.5f && !p->slopes && !p->sinks;
    if (!plain || count < 256) return true;
    if (error_energy <= energy_limit(check) * energy) return true;
    fuzz_fail(check, what, "errors have %.3g of the energy of the result, limit %.3g", error_energy / energy,
              energy_limit(check));
    return false;
}

bool fuzz_gaps_intact(const fuzz_buffer *buffer, const uint8_t *owned, size_t *where) {
    const uint16_t *words = (const uint16_t *)buffer->data;
    for (size_t i = 0; owned && i < buffer->bytes / 2; i++)
        if (!owned[i] && words[i] != FUZZ_CANARY) {
            *where = 2 * i;
            return false;
        }
    *where = buffer->bytes;
    return fuzz_buffer_slack_intact(buffer);
}

static bool compare_stats(fuzz_check *check, const lhk_attention_stats *stats, const char *what) {
    if (check->c->subject->unbounded && stats->calls == 1 && stats->path) return true;
    if (stats->calls == 1 && stats->pairs_attended == check->c->pairs_attended &&
        stats->pairs_visible == check->c->pairs_visible && stats->path)
        return true;
    fuzz_fail(check, what,
              "statistics: %" PRIu64 " calls, %" PRIu64 " attended, %" PRIu64 " visible, path %s; expected 1, %" PRIu64
              ", %" PRIu64,
              stats->calls, stats->pairs_attended, stats->pairs_visible, stats->path ? stats->path : "null",
              check->c->pairs_attended, check->c->pairs_visible);
    return false;
}

bool fuzz_compare_all(fuzz_check *check, const lhk_attention_stats *stats, const char *what) {
    fuzz_case *c = check->c;
    size_t where;
    lhk_fuzz_args computed = c->args;  // spare rows are not computed
    computed.out.shape[0] = 0;
    for (int64_t b = 0; b < fuzz_sequences(&c->args); b++)
        computed.out.shape[0] += fuzz_get_sequence(&c->args, b).rows;
    if (!fuzz_compare(check, &computed, 0, what)) return false;
    if (!fuzz_gaps_intact(&c->arena->out, c->owned, &where)) {
        fuzz_fail(check, what, "wrote between the rows of out, at byte %zu of %zu", where, c->arena->out.bytes);
        return false;
    }
    if (c->problem.wants_lse && !fuzz_gaps_intact(&c->arena->lse, c->lse_owned, &where)) {
        fuzz_fail(check, what, "wrote between the rows of lse, at byte %zu of %zu", where, c->arena->lse.bytes);
        return false;
    }
    return compare_stats(check, stats, what);
}
