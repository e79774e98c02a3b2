// SPDX-License-Identifier: Apache-2.0
#include "lhk_flash_piece.h"

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/// Rows that every list of the chain's block selections covers whole (0: no block selection), and whether heads of a
/// group may share a task.
static void read_selection(lhk_flash_plan *plan) {
    const lhk_flash_call *call = plan->call;
    plan->packed = true;
    plan->list_rows = 0;
    for (const lhk_selection *s = call->args.selection; s;) {
        lhk_selection one = lhk_flash_get_selection(s);
        if (one.kind == LHK_SELECTION_BLOCKS) plan->list_rows = gcd(one.tile_rows, plan->list_rows);
        bool per_kv_head = one.kind == LHK_SELECTION_TOKENS && one.list_count == call->kv_heads;
        if (one.kind != LHK_SELECTION_ALL && !per_kv_head) plan->packed = false;
        s = one.next;
    }
    if (call->group == 1) plan->packed = true;
    plan->group = plan->packed ? call->group : 1;
    plan->heads = plan->packed ? call->kv_heads : call->query_heads;
}

/// Tiles of a sequence of `rows` query rows.
static int64_t tile_count(const lhk_flash_plan *plan, int64_t rows) {
    int64_t list = plan->list_rows * plan->group;
    if (list == 0) return ceil_div(rows * plan->group, plan->tile_rows);
    int64_t last = rows * plan->group % list;
    return rows * plan->group / list * ceil_div(list, plan->tile_rows) + ceil_div(last, plan->tile_rows);
}

/// Most splits of the keys of one sequence. With a selection or few keys: 1.
static int64_t most_splits(const lhk_flash_plan *plan, const lhk_flash_sequence *q) {
    const lhk_flash_call *call = plan->call;
    if (call->args.selection || plan->direct) return 1;
    int64_t reach = lhk_min(call->left, q->keys) + lhk_min(call->right, q->keys) + q->rows;
    int64_t keys = lhk_min(q->keys, reach + lhk_min(call->sink_tokens, q->keys));
    return lhk_max(1, keys / LHK_FLASH_SPLIT_KEYS);
}

/// Splits of the keys of one sequence when the whole call has `tiles` tiles of `together` heads each.
static int64_t split_count(const lhk_flash_plan *plan, const lhk_flash_sequence *q, int64_t tiles) {
    if (tiles >= LHK_FLASH_TARGET_TASKS || tiles == 0) return 1;
    return lhk_min(ceil_div(LHK_FLASH_TARGET_TASKS, tiles), most_splits(plan, q));
}

static int64_t head_tasks(const lhk_flash_plan *plan) { return ceil_div(plan->heads, plan->together); }

/// How many heads a task takes: as many as leave enough tasks, where the keys of a block of them follow one another in memory
/// and their rows are no more than those of a large tile.
static int64_t choose_together(const lhk_flash_plan *plan, int64_t most_rows) {
    const lhk_flash_call *call = plan->call;
    uint32_t kind = plan->source.kind;
    if (call->args.selection || plan->direct || plan->prepack || (kind != LHK_FLASH_PANELS && kind != LHK_FLASH_TILES)) return 1;
    if (most_rows > (int64_t)plan->kernel->strip_rows * LHK_FLASH_STREAM_STRIPS) return 1;
    int64_t pieces = 0;
    for (int64_t b = 0; b < call->sequences; b++) {
        lhk_flash_sequence q = lhk_flash_get_sequence(call, b);
        if (q.rows > 0) pieces += most_splits(plan, &q);
    }
    int64_t together = lhk_min(plan->heads, plan->kernel->strip_rows * LHK_FLASH_STRIPS / lhk_max(most_rows, 1));
    while (together > 1 && ceil_div(plan->heads, together) * pieces < LHK_FLASH_TARGET_TASKS) together = (together + 1) / 2;
    return together;
}

static void carve_worker(const lhk_flash_plan *plan, lhk_carver *c, lhk_flash_scratch *w) {
    uint64_t rows = (uint64_t)plan->tile_rows, all_rows = rows * (uint64_t)plan->together;
    w->q = lhk_carve(c, all_rows * (uint64_t)plan->ldq, 4);
    w->o = lhk_carve(c, all_rows * plan->source.panels.padded_dim_v, 4);
    w->m = lhk_carve(c, all_rows, 4);
    w->l = lhk_carve(c, all_rows, 4);
    w->s = lhk_carve(c, (uint64_t)(plan->kernel->strip_rows * plan->lds), 4);
    w->spans = lhk_carve(c, rows, sizeof(lhk_flash_span));
    w->positions = lhk_carve(c, rows, 8);
    w->blocks = lhk_carve(c, (uint64_t)plan->scratch_blocks, lhk_panel_block_bytes(&plan->source.panels));
    w->index = lhk_carve(c, LHK_BLOCK_TOKENS, 4);
    w->weights = lhk_carve(c, LHK_BLOCK_TOKENS, 4);
    w->counts = lhk_carve(c, 3, 8);
}

/// Sets what depends on shapes alone.
static void set_shape(lhk_flash_plan *plan) {
    const lhk_panels *p = &plan->source.panels;
    plan->tile_rows = (int64_t)plan->kernel->strip_rows * LHK_FLASH_STRIPS;
    switch (plan->source.kind == LHK_FLASH_TILES ? LHK_DTYPE_F32 : plan->kernel->query_dtype) {
        case LHK_DTYPE_I8: plan->ldq = 2 + p->padded_dim_k / 4 * (int64_t)plan->kernel->query_words; break;
        case LHK_DTYPE_BF16: plan->ldq = p->padded_dim_k / 2; break;
        default: plan->ldq = p->padded_dim_k;
    }
    plan->piece_keys = plan->source.kind == LHK_FLASH_TILES ? LHK_FLASH_TILE_KEYS : LHK_BLOCK_TOKENS;
    if (plan->direct) plan->lds = LHK_FLASH_DIRECT_KEYS + LHK_FLASH_DIRECT_PIECES * 32;
    else plan->lds = plan->piece_keys + 16;
}

static uint64_t worker_size(const lhk_flash_plan *plan, bool *overflow) {
    lhk_carver carver = {0};
    lhk_flash_scratch unused;
    carve_worker(plan, &carver, &unused);
    *overflow |= carver.overflow;
    return carver.used;
}

/// Room for the blocks of all sequences, [block][kv_head] as in a store.
static void carve_panels(lhk_flash_plan *plan, lhk_carver *carver, bool has_base) {
    lhk_panels *p = &plan->source.panels;
    int64_t blocks = 0;
    plan->first_block = lhk_carve(carver, (uint64_t)plan->call->sequences + 1, 8);
    for (int64_t b = 0; b < plan->call->sequences; b++) {
        if (has_base) plan->first_block[b] = blocks;
        blocks += ceil_div(lhk_flash_get_sequence(plan->call, b).keys, LHK_BLOCK_TOKENS);
    }
    if (has_base) plan->first_block[plan->call->sequences] = blocks;
    p->head_stride = lhk_panel_block_bytes(p);
    p->block_stride = p->head_stride * (uint64_t)plan->call->kv_heads;
    p->base = lhk_carve(carver, (uint64_t)blocks, p->block_stride);
}

bool lhk_flash_plan_make(lhk_flash_plan *plan, uint32_t workers, uint8_t *base, uint64_t *bytes) {
    const lhk_flash_call *call = plan->call;
    set_shape(plan);
    read_selection(plan);
    uint32_t kind = plan->source.kind;
    bool needs_scratch = kind == LHK_FLASH_ROWS || kind == LHK_FLASH_UNPACKED || (kind == LHK_FLASH_PANELS && call->args.selection);
    plan->scratch_blocks = !needs_scratch ? 0 : plan->direct ? LHK_FLASH_DIRECT_PIECES : 1;
    int64_t tiles = 0, most_rows = 0;
    for (int64_t b = 0; b < call->sequences; b++) {
        lhk_flash_sequence q = lhk_flash_get_sequence(call, b);
        most_rows = lhk_max(most_rows, q.rows * plan->group);
    }
    plan->tile_rows = lhk_max(1, lhk_min(plan->tile_rows, most_rows));
    plan->together = choose_together(plan, most_rows);
    for (int64_t b = 0; b < call->sequences; b++)
        tiles += tile_count(plan, lhk_flash_get_sequence(call, b).rows) * head_tasks(plan);
    lhk_carver carver = {.base = base};
    plan->first_task = lhk_carve(&carver, (uint64_t)call->sequences + 1, 8);
    plan->splits = lhk_carve(&carver, (uint64_t)call->sequences, 8);
    plan->tasks = 0;
    plan->any_split = false;
    for (int64_t b = 0; b < call->sequences; b++) {
        lhk_flash_sequence q = lhk_flash_get_sequence(call, b);
        int64_t splits = split_count(plan, &q, tiles);
        if (base) {
            plan->first_task[b] = plan->tasks;
            plan->splits[b] = splits;
        }
        plan->any_split |= splits > 1;
        plan->tasks += tile_count(plan, q.rows) * head_tasks(plan) * splits;
    }
    if (base) plan->first_task[call->sequences] = plan->tasks;
    bool overflow = false;
    plan->worker_bytes = worker_size(plan, &overflow);
    plan->workers = lhk_carve(&carver, workers, plan->worker_bytes);
    if (plan->prepack) carve_panels(plan, &carver, base != NULL);
    uint64_t partial_rows = plan->any_split ? (uint64_t)(plan->tasks * plan->together * plan->tile_rows) : 0;
    plan->partials = lhk_carve(&carver, partial_rows, 4 * (plan->source.panels.padded_dim_v + 2));
    *bytes = carver.used;
    return !overflow && !carver.overflow;
}

bool lhk_flash_plan_bound(lhk_flash_plan *plan, int64_t rows, uint32_t workers, uint64_t *bytes) {
    plan->direct = plan->source.kind != LHK_FLASH_TILES;
    set_shape(plan);
    plan->scratch_blocks = 1;
    // Rows of a tile, or of several heads that a task takes together.
    int64_t most_rows = rows > plan->tile_rows ? plan->tile_rows : rows * plan->call->group * plan->call->kv_heads;
    plan->tile_rows = lhk_max(1, lhk_min(plan->tile_rows, most_rows));
    plan->together = 1;
    bool overflow = false;
    lhk_carver carver = {0};
    lhk_carve(&carver, 2, 8);
    lhk_carve(&carver, 1, 8);
    lhk_carve(&carver, workers, worker_size(plan, &overflow));
    uint64_t split_tasks = 2 * LHK_FLASH_TARGET_TASKS;  // fewer than TARGET tiles, each in ceil(TARGET / tiles) splits
    lhk_carve(&carver, split_tasks * (uint64_t)plan->tile_rows, 4 * (plan->source.panels.padded_dim_v + 2));
    *bytes = carver.used;
    return !overflow && !carver.overflow;
}

lhk_flash_scratch lhk_flash_plan_scratch(const lhk_flash_plan *plan, uint32_t worker) {
    lhk_carver carver = {.base = plan->workers + worker * plan->worker_bytes};
    lhk_flash_scratch scratch;
    carve_worker(plan, &carver, &scratch);
    return scratch;
}

/// The sequence that holds entry `number` of those that begin at first[0 .. sequences).
static int64_t find_sequence(const int64_t *first, int64_t sequences, int64_t number) {
    int64_t low = 0, high = sequences;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (first[middle] <= number) low = middle;
        else high = middle;
    }
    return low;
}

lhk_flash_task lhk_flash_plan_task(const lhk_flash_plan *plan, int64_t number) {
    int64_t low = find_sequence(plan->first_task, plan->call->sequences, number);
    // Empty sequences share their first task with the next one; the search ends at the last, which owns it.
    lhk_flash_task t = {.number = number, .sequence = lhk_flash_get_sequence(plan->call, low), .splits = plan->splits[low]};
    if (plan->prepack) t.first_block = plan->first_block[low];
    int64_t local = number - plan->first_task[low], tiles = tile_count(plan, t.sequence.rows);
    t.split = local % t.splits;
    t.head = local / t.splits % head_tasks(plan) * plan->together;
    t.heads = lhk_min(plan->together, plan->heads - t.head);
    int64_t tile = tiles - 1 - local / t.splits / head_tasks(plan);  // under a causal mask the last tiles are the longest
    int64_t list = plan->list_rows * plan->group, total = t.sequence.rows * plan->group;
    if (list == 0) {
        t.first = tile * plan->tile_rows;
        t.rows = lhk_min(plan->tile_rows, total - t.first);
    } else {
        int64_t pieces = ceil_div(list, plan->tile_rows);
        t.first = tile / pieces * list + tile % pieces * plan->tile_rows;
        t.rows = lhk_min(lhk_min(plan->tile_rows, tile / pieces * list + list - t.first), total - t.first);
    }
    return t;
}

typedef struct run_context {
    const lhk_flash_plan *plan;
    bool merging;
} run_context;

static void run_one(void *context, int64_t number, uint32_t worker) {
    const run_context *run = context;
    lhk_flash_task task = lhk_flash_plan_task(run->plan, number);
    if (run->merging) {
        if (task.splits > 1 && task.split == 0) lhk_flash_merge_splits(run->plan, &task);
        return;
    }
    lhk_flash_scratch scratch = lhk_flash_plan_scratch(run->plan, worker);
    lhk_flash_run_task(run->plan, &task, &scratch);
}

static void pack_one(void *context, int64_t number, uint32_t worker) {
    const lhk_flash_plan *plan = context;
    int64_t block = number / plan->call->kv_heads, head = number % plan->call->kv_heads;
    int64_t b = find_sequence(plan->first_block, plan->call->sequences, block);
    lhk_flash_sequence sequence = lhk_flash_get_sequence(plan->call, b);
    const lhk_panels *p = &plan->source.panels;
    uint8_t *at = (uint8_t *)p->base + (uint64_t)block * p->block_stride + (uint64_t)head * p->head_stride;
    bool nonfinite = lhk_flash_pack_block(plan, &sequence, block - plan->first_block[b], head, at);
    lhk_flash_plan_scratch(plan, worker).counts[2] += nonfinite;
}

void lhk_flash_run(lhk_flash_plan *plan, const lhk_host *host, lhk_attention_stats *stats) {
    for (uint32_t w = 0; w < host->workers; w++)
        memset(lhk_flash_plan_scratch(plan, w).counts, 0, 3 * sizeof(uint64_t));
    if (plan->prepack) {
        lhk_parallel_for(host, plan->first_block[plan->call->sequences] * plan->call->kv_heads, pack_one, plan);
        for (uint32_t w = 0; w < host->workers; w++)
            plan->source.panels.values_nonfinite |= lhk_flash_plan_scratch(plan, w).counts[2] != 0;
    }
    run_context run = {plan, false};
    lhk_parallel_for(host, plan->tasks, run_one, &run);
    if (plan->any_split) {
        run.merging = true;
        lhk_parallel_for(host, plan->tasks, run_one, &run);
    }
    uint64_t attended = 0, visible = 0;
    for (uint32_t w = 0; w < host->workers; w++) {
        const uint64_t *counts = lhk_flash_plan_scratch(plan, w).counts;
        attended += counts[0];
        visible += counts[1];
    }
    const char *path = plan->source.kind == LHK_FLASH_TILES ? "tiles" : plan->source.kind == LHK_FLASH_UNPACKED ? "unpacked"
                       : plan->direct                       ? "direct"
                       : plan->any_split                    ? "split"
                                                            : "blockwise";
    lhk_flash_count(stats, attended, visible, path);
}
