// SPDX-License-Identifier: Apache-2.0
/// Services to the checks of one case: failures, memory, instances.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify.h"

void verify_fail(verify_check *check, const char *format, ...) {
    lhk_verify_outcome *outcome = check->outcome;
    if (outcome->failures++ == 0) {
        char detail[1024];
        va_list list;
        va_start(list, format);
        vsnprintf(detail, sizeof detail, format, list);
        va_end(list);
        snprintf(outcome->text, sizeof outcome->text, "%s: %s\n%s", check->step, detail, check->problem);
        if (check->name) snprintf(outcome->failed_case, sizeof outcome->failed_case, "%s", check->name);
        else snprintf(outcome->failed_case, sizeof outcome->failed_case, "%" PRIu64, check->index);
    }
    fuzz_leave();
}

void verify_skip(verify_check *check, const char *reason) {
    check->outcome->cases--;
    check->outcome->skipped++;
    snprintf(check->outcome->reason, sizeof check->outcome->reason, "%s", reason);
    fuzz_leave();
}

void *verify_alloc(verify_check *check, uint64_t count, uint64_t size) {
    uint64_t bytes;
    fuzz_block *block = lhk_multiply(count, size, &bytes) && bytes < SIZE_MAX / 2 ? calloc(1, sizeof *block + bytes) : NULL;
    if (!block) verify_fail(check, "the harness has no memory for %" PRIu64 " times %" PRIu64 " bytes", count, size);
    block->next = check->blocks;
    check->blocks = block;
    return block + 1;
}

fuzz_buffer *verify_buffer(verify_check *check, uint64_t bytes, uint64_t alignment) {
    if (check->buffers == VERIFY_BUFFERS) verify_fail(check, "the harness has no more guarded buffers");
    fuzz_buffer *buffer = &check->v->buffers[check->buffers++];
    bool at_start = !check->name && check->index % 8 == 5;  // the page before the memory for once, not that behind it
    if (bytes > UINT64_C(1) << 34 || !fuzz_buffer_prepare(buffer, bytes, alignment, at_start))
        verify_fail(check, "no memory for %" PRIu64 " bytes", bytes);
    fuzz_buffer_set(buffer, FUZZ_SLACK);
    return buffer;
}

lhk_host verify_host(verify_check *check, uint32_t workers) { return fuzz_make_host(&check->loop, workers, check->isa); }

lhk_host verify_pool(verify_check *check) { return fuzz_make_pool_host(&check->loop, &check->v->pool, check->isa); }

lhk_error *verify_error(verify_check *check) {
    check->error = (lhk_error){.struct_size = sizeof check->error};
    check->outcome->calls++;
    return &check->error;
}

void verify_ok(verify_check *check, lhk_status status) {
    if (status) verify_fail(check, "status %d: %.400s", status, check->error.text);
    if (check->loop.nested) verify_fail(check, "a parallel loop within a parallel loop");
}

void verify_refused(verify_check *check, lhk_status status, lhk_status expected) {
    if (status != expected) verify_fail(check, "status %d, expected %d: %.400s", status, expected, check->error.text);
    if (check->error.status != status || !check->error.text[0])
        verify_fail(check, "status %d, but the error says %d and '%.400s'", status, check->error.status, check->error.text);
}

void verify_support(verify_check *check, const lhk_variant *variant, const lhk_problem *problem) {
    check->step = "supports";
    lhk_status status = variant->life->supports(variant, problem, check->isa, verify_error(check));
    if (status == LHK_ERROR_UNSUPPORTED || status == LHK_ERROR_ARGUMENT) verify_skip(check, check->error.text);
    verify_ok(check, status);
    lhk_cost cost = {.struct_size = sizeof cost};
    check->step = "cost";
    verify_ok(check, variant->life->cost(variant, problem, &cost));
    if (!(cost.time >= 0) || !(cost.bytes >= 0)) verify_fail(check, "time %g, bytes %g", cost.time, cost.bytes);
}

verify_instance verify_create(verify_check *check, const lhk_variant *variant, const lhk_problem *problem,
                              uint32_t workers) {
    verify_instance instance = {.variant = variant, .problem = *problem};
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    check->step = "sizes";
    verify_ok(check, variant->life->sizes(variant, problem, workers, &sizes, verify_error(check)));
    check->step = "create";
    instance.buffer = verify_buffer(check, sizes.state_bytes, LHK_ALIGNMENT);
    instance.state = (lhk_instance *)instance.buffer->data;
    instance.workspace_bytes = sizes.workspace_bytes;
    fuzz_buffer_set(instance.buffer, 0);
    verify_ok(check, variant->life->create(variant, problem, instance.state, sizes.state_bytes, verify_error(check)));
    verify_intact(check, &instance);
    return instance;
}

void verify_destroy(verify_check *check, verify_instance *instance) {
    check->step = "destroy";
    check->outcome->calls++;
    if (instance->variant->life->destroy) instance->variant->life->destroy(instance->state);
    verify_intact(check, instance);
}

verify_instance verify_copy(verify_check *check, const verify_instance *instance) {
    verify_instance copy = *instance;
    copy.buffer = verify_buffer(check, instance->buffer->bytes, LHK_ALIGNMENT);
    memcpy(copy.buffer->data, instance->buffer->data, instance->buffer->bytes);
    copy.state = (lhk_instance *)copy.buffer->data;
    return copy;
}

void verify_move(verify_check *check, verify_instance *instance) {
    fuzz_buffer *old = instance->buffer;
    *instance = verify_copy(check, instance);
    fuzz_buffer_set(old, FUZZ_SLACK);
}

void verify_intact(verify_check *check, const verify_instance *instance) {
    if (!fuzz_buffer_slack_intact(instance->buffer)) verify_fail(check, "wrote past the state");
}
