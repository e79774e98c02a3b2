// SPDX-License-Identifier: Apache-2.0
/// Laws of a store's life: forgetting, copying, saving and loading.
#include <inttypes.h>
#include <lhk/support.h>

#include "verify_store.h"

/// Everything a store does must still work on what it holds.
static void compare_all(store_case *s, verify_instance *store, const store_content *expected, int64_t count) {
    store_content now = store_read(s, store, count);
    store_compare(s, &now, expected, count);
    if (s->ops->panels) {
        const char *step = s->check->step;
        store_check_panels(s, store, &now);
        s->check->step = step;
    }
    if (fuzz_below(&s->check->rng, 4)) return;
    store_check_score(s, store, &now);
    store_check_accumulate(s, store, &now);
}

void store_check_truncate(store_case *s, verify_instance *store, const store_content *content) {
    verify_check *check = s->check;
    const lhk_life_ops *life = s->variant->life;
    check->step = "truncate to more than there is";
    verify_refused(check, life->truncate(store->state, s->count + 1, verify_error(check)), LHK_ERROR_ARGUMENT);
    check->step = "truncate to less than nothing";
    verify_refused(check, life->truncate(store->state, -1, verify_error(check)), LHK_ERROR_ARGUMENT);
    check->step = "a refused truncate";
    compare_all(s, store, content, s->count);
    int64_t kept = s->count;
    while (kept > 0) {
        kept = fuzz_chance(&check->rng, 20) ? 0 : fuzz_below(&check->rng, kept + 1);
        check->step = "truncate";
        verify_ok(check, life->truncate(store->state, kept, verify_error(check)));
        verify_intact(check, store);
        compare_all(s, store, content, kept);
        if (!s->dtype) continue;  // an approximation may depend on how rows came together
        // Other rows first, so that what was forgotten would show if it were not overwritten.
        check->step = "append after truncate";
        int64_t other = fuzz_below(&check->rng, lhk_min(kept, s->count - kept) + 1);
        store_append(s, store, 0, other, NULL);
        check->step = "truncate again";
        verify_ok(check, life->truncate(store->state, kept, verify_error(check)));
        check->step = "truncate and append";
        int64_t back = fuzz_below(&check->rng, s->count - kept + 1);
        store_append_pieces(s, store, kept, back);
        compare_all(s, store, content, kept + back);
        verify_ok(check, life->truncate(store->state, kept, verify_error(check)));
        if (fuzz_chance(&check->rng, 50)) break;
    }
}

void store_check_fork(store_case *s, verify_instance *store, const store_content *content) {
    verify_check *check = s->check;
    const lhk_life_ops *life = s->variant->life;
    check->step = "fork";
    verify_instance copy = store_new(s);
    fuzz_buffer_protect(store->buffer, false);
    verify_ok(check, life->fork(store->state, copy.state, verify_error(check)));
    fuzz_buffer_protect(store->buffer, true);
    verify_intact(check, &copy);
    compare_all(s, &copy, content, s->count);
    if (s->count == 0) return;
    // Each loses rows that the other keeps, and takes others in their place.
    int64_t kept = fuzz_below(&check->rng, s->count);
    check->step = "a fork after its source was changed";
    verify_ok(check, life->truncate(store->state, kept, verify_error(check)));
    store_append(s, store, 0, lhk_min(kept, s->count - kept), NULL);
    compare_all(s, &copy, content, s->count);
    check->step = "fork back";
    verify_instance back = store_new(s);
    verify_ok(check, life->fork(copy.state, back.state, verify_error(check)));
    check->step = "the source after its fork was changed";
    verify_ok(check, life->truncate(copy.state, kept, verify_error(check)));
    store_append(s, &copy, 0, lhk_min(kept, s->count - kept), NULL);
    compare_all(s, &back, content, s->count);
    *store = back;
}

void store_check_saving(store_case *s, verify_instance *store, const store_content *content) {
    verify_check *check = s->check;
    const lhk_life_ops *life = s->variant->life;
    check->step = "save";
    fuzz_buffer_protect(store->buffer, false);
    fuzz_buffer *saved = store_save(s, store), *again = store_save(s, store);
    fuzz_buffer_protect(store->buffer, true);
    if (again->bytes != saved->bytes || memcmp(again->data, saved->data, saved->bytes))
        verify_fail(check, "saving twice gives different bytes");
    check->step = "load";
    verify_instance loaded = store_new(s);
    fuzz_buffer_protect(saved, false);
    verify_ok(check, life->load(loaded.state, saved->data, saved->bytes, verify_error(check)));
    verify_intact(check, &loaded);
    compare_all(s, &loaded, content, s->count);
    check->step = "save what was loaded";
    again = store_save(s, &loaded);
    if (again->bytes != saved->bytes || memcmp(again->data, saved->data, saved->bytes))
        verify_fail(check, "%zu bytes, not the same as those loaded", again->bytes);
    store_check_bad_bytes(s, saved);
    if (!s->dtype || s->count == 0) return;
    check->step = "append after load";
    int64_t kept = fuzz_below(&check->rng, s->count + 1);
    verify_ok(check, life->truncate(loaded.state, kept, verify_error(check)));
    store_append_pieces(s, &loaded, kept, s->count - kept);
    compare_all(s, &loaded, content, s->count);
}

/// A store that was never used: a copy of one, where its memory is all it has, because some take long to create.
static verify_instance copy_new(store_case *s, const verify_instance *unused) {
    return s->variant->life->destroy ? store_new(s) : verify_copy(s->check, unused);
}

/// Loads damaged bytes into a fresh store. It may take them (a wrong value is still a value), but must then be in order;
/// refused, it must be as new.
static void load_damaged(store_case *s, const verify_instance *unused, const fuzz_buffer *bytes, bool must_refuse) {
    verify_check *check = s->check;
    uint32_t used = check->buffers;
    verify_instance victim = copy_new(s, unused);
    lhk_status status = s->variant->life->load(victim.state, bytes->data, bytes->bytes, verify_error(check));
    verify_intact(check, &victim);
    int64_t held = store_length(s, &victim);
    if (status == LHK_OK && must_refuse) verify_fail(check, "was accepted");
    if (status != LHK_OK && held != 0) verify_fail(check, "was refused, but the store now holds %" PRId64 " rows", held);
    if (held < 0 || held > s->problem.keys) verify_fail(check, "the store now holds %" PRId64 " rows", held);
    store_read(s, &victim, held);
    if (status != LHK_OK) store_append(s, &victim, 0, s->count, NULL);
    check->buffers = used;
}

/// Loads the first `bytes` bytes.
static void load_part(store_case *s, const verify_instance *unused, const fuzz_buffer *saved, uint64_t bytes) {
    verify_check *check = s->check;
    check->step = "load of bytes cut short";
    uint32_t used = check->buffers;
    fuzz_buffer *part = verify_buffer(check, bytes, 1);
    if (bytes) memcpy(part->data, saved->data, bytes);
    load_damaged(s, unused, part, true);
    check->buffers = used;
}

/// Loads the bytes with some bits of one of them flipped.
static void load_flipped(store_case *s, const verify_instance *unused, const fuzz_buffer *saved, uint64_t at, uint8_t bits) {
    verify_check *check = s->check;
    check->step = "load of damaged bytes";
    uint32_t used = check->buffers;
    fuzz_buffer *damaged = verify_buffer(check, saved->bytes, 1);
    memcpy(damaged->data, saved->data, saved->bytes);
    damaged->data[at] ^= bits;
    load_damaged(s, unused, damaged, false);
    check->buffers = used;
}

void store_check_bad_bytes(store_case *s, const fuzz_buffer *saved) {
    verify_check *check = s->check;
    const verify_instance unused = store_new(s);
    bool every = check->fixed && check->fixed->every_byte;
    const uint64_t cuts[] = {0, saved->bytes / 2, saved->bytes - 1};
    for (int i = 0; i < 3 && saved->bytes && !every; i++) load_part(s, &unused, saved, cuts[i]);
    for (uint64_t i = 0; i < saved->bytes && every; i += i < VERIFY_EVERY_BYTE ? 1 : saved->bytes / 64 + 1) {
        load_part(s, &unused, saved, i);
        load_flipped(s, &unused, saved, i, (uint8_t)(1 + fuzz_below(&check->rng, 255)));
        load_flipped(s, &unused, saved, i, 0x80);
    }
    check->step = "load of bytes and one more";
    fuzz_buffer *longer = verify_buffer(check, saved->bytes + 1, 1);
    if (saved->bytes) memcpy(longer->data, saved->data, saved->bytes);
    longer->data[saved->bytes] = 0;
    load_damaged(s, &unused, longer, true);
    for (int i = 0; i < 6 && saved->bytes && !every; i++) {
        uint64_t reach = i < 4 && saved->bytes > 64 ? 64 : saved->bytes;  // headers first
        uint64_t at = (uint64_t)fuzz_below(&check->rng, (int64_t)reach);
        load_flipped(s, &unused, saved, at, (uint8_t)(1 + fuzz_below(&check->rng, 255)));
    }
}
