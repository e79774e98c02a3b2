// SPDX-License-Identifier: Apache-2.0
#include <lhk/support.h>
#include <longhand/flash_attention.h>

#include "lhk_subjects.h"

/// The direct path takes at most this many keys.
#define DIRECT_KEYS 2048

static lhk_flash_args flash_args(const lhk_fuzz_args *a) {
    return (lhk_flash_args){.struct_size = sizeof(lhk_flash_args), .path = a->mode, .q = a->q, .k = a->k, .v = a->v,
                            .out = a->out, .lse = a->lse, .sequences = a->sequences, .cu_q = a->cu_q, .cu_k = a->cu_k,
                            .kv_lengths = a->kv_lengths, .params = a->params, .selection = a->selection, .stats = a->stats};
}

/// Whether the call asks for the direct path where there is none.
static bool is_beyond_direct(const lhk_fuzz_args *a) {
    if (a->mode != LHK_FLASH_PATH_DIRECT) return false;
    if (a->selection) return true;
    for (int64_t b = 0; b < (a->sequences ? a->sequences : 1); b++) {
        int64_t keys = a->sequences ? a->cu_k[b + 1] - a->cu_k[b] : a->k.shape[0];
        if ((a->kv_lengths ? a->kv_lengths[b] : keys) > DIRECT_KEYS) return true;
    }
    return false;
}

static lhk_status flash_attend(void *context, const lhk_fuzz_args *args, const lhk_host *host,
                               const lhk_workspace *workspace, lhk_error *error) {
    (void)context;
    lhk_flash_args flash = flash_args(args);
    return lhk_flash_attention(&flash, host, workspace, error);
}

static lhk_status flash_workspace(void *context, const lhk_fuzz_args *args, const lhk_host *host, uint64_t *bytes,
                                  lhk_error *error) {
    (void)context;
    if (is_beyond_direct(args)) return lhk_fail(error, LHK_ERROR_UNSUPPORTED, -1, "no direct path");
    lhk_flash_args flash = flash_args(args);
    return lhk_flash_attention_workspace(&flash, host, bytes, error);
}

static lhk_status reference_attend(void *context, const lhk_fuzz_args *args, const lhk_host *host,
                                   const lhk_workspace *workspace, lhk_error *error) {
    (void)context, (void)host, (void)workspace;
    lhk_flash_args flash = flash_args(args);
    return lhk_flash_attention_reference(&flash, error);
}

static lhk_status reference_workspace(void *context, const lhk_fuzz_args *args, const lhk_host *host, uint64_t *bytes,
                                      lhk_error *error) {
    (void)context, (void)args, (void)host, (void)error;
    *bytes = 0;
    return LHK_OK;
}

/// The formula that the method offers.
static const lhk_attention_reference *formula(void) { return lhk_flash_attention_plugin()->methods[0]->reference->formula; }

lhk_fuzz_subject lhk_fuzz_flash_attention(void) {
    return (lhk_fuzz_subject){.name = "lhk_flash_attention", .attend = flash_attend, .workspace = flash_workspace,
                              .reference = formula(), .modes = LHK_FLASH_PATH_DIRECT + 1};
}

lhk_fuzz_subject lhk_fuzz_reference(void) {
    return (lhk_fuzz_subject){.name = "reference", .attend = reference_attend, .workspace = reference_workspace,
                              .modes = 1};  // held to the harness's own formula
}
