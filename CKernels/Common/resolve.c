// SPDX-License-Identifier: Apache-2.0
// Choice of a variant: static fields first, then the variant's own answer, then cost within the best exactness class.
#include <lhk/support.h>
#include <longhand/registry.h>

#include "isa_detect.h"
#include "plugin_check.h"

/// How far a variant came; the reason of the one that came furthest is reported.
enum { stage_none, stage_isa, stage_dtypes, stage_head_dim, stage_supports, stage_cost, stage_fits };

/// Writes the names of the levels in `isa`, e.g. "avx2 + avx512".
static void name_levels(lhk_isa isa, char *out, size_t bytes) {
    out[0] = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(isa >> bit & 1)) continue;
        size_t used = strlen(out);
        snprintf(out + used, bytes - used, "%s%s", used ? " + " : "", lhk_isa_name((lhk_isa)1 << bit));
    }
}

static bool accepts(uint64_t mask, lhk_dtype dtype) {
    return !mask || (dtype < 64 && (mask & LHK_DTYPE_BIT(dtype)));
}

static lhk_status check_dtypes(const lhk_method *method, const lhk_variant *variant, const lhk_problem *problem,
                               lhk_error *error) {
    const char *what = NULL;
    lhk_dtype dtype = 0;
    if (!accepts(variant->query_dtypes, problem->query_dtype)) {
        what = "queries";
        dtype = problem->query_dtype;
    } else if (strcmp(method->role, LHK_ROLE_STORE) && !accepts(variant->kv_dtypes, problem->kv_dtype)) {
        // A store decides what its panels hold, so for it the mask is a statement and not a condition.
        what = "keys and values";
        dtype = problem->kv_dtype;
    } else if (!accepts(variant->output_dtypes, problem->output_dtype)) {
        what = "outputs";
        dtype = problem->output_dtype;
    }
    if (!what) return LHK_OK;
    return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "%s of type %s are not supported", what, lhk_dtype_name(dtype));
}

static bool dim_fits(const lhk_variant *variant, uint32_t dim) {
    return dim >= variant->head_dim_min && (!variant->head_dim_max || dim <= variant->head_dim_max) &&
           (!variant->head_dim_multiple || dim % variant->head_dim_multiple == 0);
}

static lhk_status check_head_dims(const lhk_variant *variant, const lhk_problem *problem, lhk_error *error) {
    uint32_t bad = dim_fits(variant, problem->head_dim_k) ? problem->head_dim_v : problem->head_dim_k;
    if (dim_fits(variant, bad)) return LHK_OK;
    char most[16] = "any";
    if (variant->head_dim_max) snprintf(most, sizeof most, "%u", variant->head_dim_max);
    return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "head dimension %u is not in %u to %s, a multiple of %u", bad,
                    variant->head_dim_min, most, variant->head_dim_multiple ? variant->head_dim_multiple : 1);
}

/// Judges one variant: the stage it failed at, or stage_fits with its cost.
static int judge(const lhk_method *method, const lhk_variant *variant, const lhk_problem *problem, lhk_isa isa,
                 double *time, lhk_error *error) {
    if (variant->isa_required & ~isa) {
        char missing[160];
        name_levels(variant->isa_required & ~isa, missing, sizeof missing);
        lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "needs %s, which this host does not offer", missing);
        return stage_isa;
    }
    if (check_dtypes(method, variant, problem, error)) return stage_dtypes;
    if (check_head_dims(variant, problem, error)) return stage_head_dim;
    error->text[0] = 0;
    lhk_status status = variant->life->supports(variant, problem, isa, error);
    if (status) {
        error->status = status;
        if (!error->text[0]) lhk_fail(error, status, -1, "does not support this problem");
        return stage_supports;
    }
    lhk_cost cost = {.struct_size = sizeof cost};
    status = variant->life->cost(variant, problem, &cost);
    if (status) {
        lhk_fail(error, status, -1, "has no cost estimate for this problem");
        return stage_cost;
    }
    *time = cost.time == cost.time ? cost.time : INFINITY;
    return stage_fits;
}

static lhk_status check_problem(const lhk_problem *problem, lhk_error *error) {
    if (problem->struct_size < LHK_SIZE_THROUGH(lhk_problem, position))
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "the problem's struct_size is too small");
    if (!problem->query_heads || !problem->kv_heads || problem->query_heads % problem->kv_heads)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "%u query heads are not a multiple of %u KV heads",
                        problem->query_heads, problem->kv_heads);
    if (!problem->head_dim_k || !problem->head_dim_v)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "a head dimension is 0");
    if (problem->query_rows < 0 || problem->keys < 0)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "the number of query rows or keys is negative");
    if (problem->option_count && !problem->options)
        return lhk_fail(error, LHK_ERROR_ARGUMENT, 1, "the options are null");
    return LHK_OK;
}

/// Tells the host's log what became of a candidate.
static void log_candidate(const lhk_host *host, const lhk_method *method, const lhk_variant *variant, double time,
                          const char *reason) {
    if (!host->log) return;
    char line[640];
    if (reason)
        snprintf(line, sizeof line, "%s: %s does not fit: %s", method->name, variant->id, reason);
    else
        snprintf(line, sizeof line, "%s: %s fits, estimated at %.0f us", method->name, variant->id, time * 1e-3);
    host->log(host->log_context, LHK_LOG_DEBUG, line);
}

lhk_status lhk_method_resolve(const lhk_method *method, const lhk_problem *problem, const lhk_host *host,
                              const lhk_variant **out, lhk_error *error) {
    lhk_status status = check_problem(problem, error);
    if (status) return status;
    const lhk_variant *best = NULL, *closest = NULL;
    double best_time = 0;
    int furthest = stage_none;
    lhk_error why = {.struct_size = sizeof why};
    for (uint32_t i = 0; i < method->variant_count; i++) {
        const lhk_variant *variant = method->variants[i];
        lhk_error reason = {.struct_size = sizeof reason};
        double time = INFINITY;
        int stage = judge(method, variant, problem, host->isa, &time, &reason);
        log_candidate(host, method, variant, time, stage == stage_fits ? NULL : reason.text);
        if (stage == stage_fits) {
            if (!best || variant->exactness < best->exactness ||
                (variant->exactness == best->exactness && time < best_time)) {
                best = variant;
                best_time = time;
            }
        } else if (stage > furthest) {
            furthest = stage;
            closest = variant;
            why = reason;
        }
    }
    if (best) {
        *out = best;
        return LHK_OK;
    }
    if (!closest) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, 0, "the method has no variants");
    why.text[sizeof why.text - 1] = 0;
    status = why.status == LHK_ERROR_ARGUMENT ? LHK_ERROR_ARGUMENT : LHK_ERROR_UNSUPPORTED;
    if (furthest == stage_supports) return lhk_fail(error, status, -1, "%s", why.text);
    return lhk_fail(error, status, -1, "variant %s: %s", closest->id, why.text);
}
