// SPDX-License-Identifier: Apache-2.0
/// Fuzz target `codebooks`: the calibrated parameters of the store `commvq`, with some numbers changed to any bits. They are
/// refused with a reason, or the store works: all variants write the same bytes, what was saved loads where the codebooks are
/// the same, and nowhere else.
#define _POSIX_C_SOURCE 200809L  // posix_memalign
#include <longhand/commvq.h>

#include "input.h"

#define DIM 64
#define MOST_ROWS 150

FUZZ_INITIALIZE

void write_seeds(const char *folder) { write_random_seeds(folder, 80); }

typedef struct books {
    lhk_parameter parameters[6];
    uint32_t count;
    lhk_option options[4];
    char numbers[2][24];
    lhk_position_params position;
    lhk_problem problem;
} books;

static lhk_parameter parameter(const char *name, uint32_t rank, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t shape[] = {a, b, c, d};
    lhk_parameter p = {.name = name, .tensor = {.dtype = LHK_DTYPE_F32, .rank = rank}};
    int64_t count = 1;
    for (uint32_t axis = rank; axis-- > 0;) {
        p.tensor.shape[axis] = shape[axis];
        p.tensor.stride[axis] = count;
        count *= shape[axis];
    }
    p.tensor.data = exact((size_t)count * sizeof(float), 16);
    return p;
}

static int64_t elements(const lhk_tensor *t) {
    int64_t count = 1;
    for (uint32_t axis = 0; axis < t->rank; axis++) count *= t->shape[axis];
    return count;
}

/// Of form=product: levels of up to 8 channels each, and of keys 4 pairs, about as training gives them.
static void take_levels(lhk_parameter *p, int64_t units, uint64_t *seed) {
    const int64_t levels = p->tensor.shape[1], most = units < DIM ? 4 : 8, each = (units + levels - 1) / levels;
    float *numbers = p->tensor.data;
    for (int64_t i = 0; i < elements(&p->tensor); i++) {
        const int64_t unit = i % DIM % units, level = i / (LHK_COMMVQ_CODES * DIM) % levels;
        const bool held = unit / (each < most ? each : most) == level % units;
        numbers[i] = held ? 0.05f * next_uniform(seed) : 0;
    }
}

/// Parameters of the form, of about the size that training gives.
static void take_numbers(bool product, int64_t heads, int64_t bits, uint64_t *seed, books *out) {
    lhk_parameter *p = out->parameters;
    out->count = product ? 6 : 4;
    if (product) {
        p[0] = parameter("commvq.product_keys", 4, heads, bits * DIM / 4, LHK_COMMVQ_CODES, DIM);
        p[1] = parameter("commvq.product_weight", 2, heads, DIM / 2, 1, 1);
        p[2] = parameter("commvq.product_centre", 2, heads, DIM, 1, 1);
        p[3] = parameter("commvq.product_values", 4, heads, bits * DIM / 4, LHK_COMMVQ_CODES, DIM);
        p[4] = parameter("commvq.product_axes", 3, heads, DIM, DIM, 1);
        p[5] = parameter("commvq.product_offset", 2, heads, DIM, 1, 1);
    } else {
        p[0] = parameter("commvq.key_codebook", 4, heads, bits * DIM / 8, LHK_COMMVQ_CODES, DIM);
        p[1] = parameter("commvq.key_weight", 2, heads, DIM / 2, 1, 1);
        p[2] = parameter("commvq.value_codebook", 3, heads, bits * DIM, DIM, 1);
        p[3] = parameter("commvq.value_offset", 2, heads, DIM, 1, 1);
    }
    for (uint32_t k = 0; k < out->count; k++) {
        float *numbers = p[k].tensor.data;
        for (int64_t i = 0; i < elements(&p[k].tensor); i++)
            numbers[i] = k == 1 ? 1 + fabsf(next_uniform(seed)) : 0.05f * next_uniform(seed);
    }
    if (!product) return;
    take_levels(&p[0], DIM / 2, seed);
    take_levels(&p[3], DIM, seed);
    for (int64_t i = 0; i < heads * DIM * DIM; i++)
        ((float *)p[4].tensor.data)[i] = i / DIM % DIM == i % DIM ? 1 : 0;
}

/// Codebooks, and the problem that has them; `in` says what is changed.
static void take_books(fuzz_input *in, uint64_t seed, books *out) {
    const bool product = take_upto(in, 1);
    const int64_t heads = 1 + take_upto(in, 1), bits = 1 + take_upto(in, product ? 2 : 1), recent = 64 * take_upto(in, 1);
    *out = (books){.position = {.struct_size = sizeof out->position, .base = 10000, .interleaved = (uint32_t)take_upto(in, 1)}};
    take_numbers(product, heads, bits, &seed, out);
    for (int64_t edits = take_upto(in, 24); edits > 0; edits--) {
        const lhk_tensor *t = &out->parameters[take_upto(in, out->count - 1)].tensor;
        const int64_t count = elements(t), at = take_upto(in, 65535) % count, length = take_rarely(in, 4) ? count - at : 1;
        const float value = take_rarely(in, 2) ? take_float(in) : ldexpf(next_uniform(&seed), (int)take_upto(in, 50) - 25);
        for (int64_t i = at; i < at + length; i++) ((float *)t->data)[i] = value;
    }
    snprintf(out->numbers[0], sizeof out->numbers[0], "%d", (int)bits);
    snprintf(out->numbers[1], sizeof out->numbers[1], "%d", (int)recent);
    out->options[0] = (lhk_option){"bits", out->numbers[0]};
    out->options[1] = (lhk_option){"recent", out->numbers[1]};
    out->options[2] = (lhk_option){"calibration", "given"};
    out->options[3] = (lhk_option){"form", product ? "product" : "additive"};
    out->problem = (lhk_problem){.struct_size = sizeof out->problem, .query_heads = (uint32_t)heads,
                                 .kv_heads = (uint32_t)heads, .head_dim_k = DIM, .head_dim_v = DIM, .query_rows = 1,
                                 .keys = MOST_ROWS, .options = out->options, .option_count = 4,
                                 .position = &out->position, .parameters = out->parameters, .parameter_count = out->count};
}

static void free_books(books *b) {
    for (uint32_t p = 0; p < b->count; p++) free(b->parameters[p].tensor.data);
}

/// A new store, or null where its codebooks are refused.
static lhk_instance *create(const lhk_variant *variant, const books *b) {
    const lhk_problem *problem = &b->problem;
    lhk_error error = {.struct_size = sizeof error};
    lhk_sizes sizes = {.struct_size = sizeof sizes};
    if (variant->life->supports(variant, problem, variant->isa_required, &error) ||
        variant->life->sizes(variant, problem, 1, &sizes, &error))
        FUZZ_FOUND("a sane shape is refused: %s", error.text);
    lhk_instance *store = exact(sizes.state_bytes, LHK_ALIGNMENT);
    memset((void *)store, 0, sizes.state_bytes);
    if (!variant->life->create(variant, problem, store, sizes.state_bytes, &error)) return store;
    if (!memchr(error.text, 0, sizeof error.text) || !strstr(error.text, "commvq")) FUZZ_FOUND("refused without a reason");
    free(store);
    return NULL;
}

static lhk_tensor rows(int64_t count, int64_t heads, uint64_t *seed) {
    lhk_tensor t = {exact((size_t)(count * heads * DIM) * sizeof(float), 16), LHK_DTYPE_F32, 3, {count, heads, DIM},
                    {heads * DIM, DIM, 1}};
    for (int64_t i = 0; i < count * heads * DIM; i++) ((float *)t.data)[i] = next_uniform(seed);
    return t;
}

/// Fills a store, and gives its saved bytes.
static uint8_t *fill(const lhk_variant *variant, lhk_instance *store, const books *b, int64_t count, uint64_t seed,
                     uint64_t *bytes) {
    const lhk_store_ops *ops = variant->ops;
    const lhk_host host = {.struct_size = sizeof host, .workers = 1, .isa = lhk_isa_detect()};
    lhk_error error = {.struct_size = sizeof error};
    lhk_tensor k = rows(count, b->problem.kv_heads, &seed), v = rows(count, b->problem.kv_heads, &seed);
    if (ops->append(store, &host, &k, &v, &error)) FUZZ_FOUND("rows are refused: %s", error.text);
    if (ops->length(store) != count) FUZZ_FOUND("rows are missing");
    free(k.data);
    free(v.data);
    *bytes = variant->life->save_size(store);
    uint8_t *saved = exact(*bytes, 16);
    variant->life->save(store, saved);
    return saved;
}

/// Reads, scores and sums all rows. Two stores that hold the same give the same.
static float *use(const lhk_variant *variant, const lhk_instance *store, int64_t count, uint64_t seed, size_t *floats) {
    const lhk_store_ops *ops = variant->ops;
    *floats = (size_t)(2 * count * DIM + count + DIM);
    float *out = exact(*floats * sizeof *out, 16), q[DIM], *scores = out + 2 * count * DIM, *sums = scores + count;
    const lhk_keys keys = {.count = count};
    lhk_error error = {.struct_size = sizeof error};
    memset(out, 0, *floats * sizeof *out);
    for (int c = 0; c < DIM; c++) q[c] = next_uniform(&seed);
    if (ops->read_rows(store, 0, 0, count, out, out + count * DIM, &error)) FUZZ_FOUND("rows are not read: %s", error.text);
    ops->score(store, 0, q, DIM, 1, &keys, scores, count);
    float *weights = exact((size_t)count * sizeof *weights, 16);
    for (int64_t i = 0; i < count; i++) weights[i] = fabsf(next_uniform(&seed));
    ops->accumulate(store, 0, weights, count, 1, &keys, sums, DIM);
    free(weights);
    return out;
}

static bool same_floats(const float *a, const float *b, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    const uint64_t seed = take(&in, 2);
    const int64_t count = 1 + take_upto(&in, MOST_ROWS - 1);
    const lhk_method *method = lhk_commvq_plugin()->methods[0];
    const lhk_variant *plain = method->variants[0], *best = plain;
    for (uint32_t i = 0; i < method->variant_count; i++) {
        const lhk_variant *v = method->variants[i];
        if (!v->isa_required) plain = v;
        if (!(v->isa_required & ~lhk_isa_detect()) && v->isa_required > best->isa_required) best = v;
    }
    books b;
    take_books(&in, seed, &b);
    lhk_instance *store = create(best, &b), *other = create(plain, &b);
    if (!store != !other) FUZZ_FOUND("one variant refuses what another takes");
    if (store) {
        uint64_t bytes, others;
        size_t floats;
        uint8_t *saved = fill(best, store, &b, count, seed, &bytes), *again = fill(plain, other, &b, count, seed, &others);
        if (bytes != others || memcmp(saved, again, bytes)) FUZZ_FOUND("%s writes other bytes than %s", best->id, plain->id);
        lhk_instance *loaded = create(best, &b);
        lhk_error error = {.struct_size = sizeof error};
        if (best->life->load(loaded, saved, bytes, &error)) FUZZ_FOUND("saved bytes are refused: %s", error.text);
        float *held = use(best, store, count, seed, &floats), *copy = use(best, loaded, count, seed, &floats);
        if (!same_floats(held, copy, floats)) FUZZ_FOUND("what was loaded computes otherwise");
        float *first = b.parameters[b.count == 4 ? 2 : 1].tensor.data;  // levels are rounded, weights are not
        *first += *first < 1 ? 1.0f : -1.0f;  // other codebooks: the codes mean nothing
        lhk_instance *stranger = create(best, &b);
        if (stranger && !best->life->load(stranger, saved, bytes, &error)) FUZZ_FOUND("codes of other codebooks are loaded");
        void *const all[] = {saved, again, held, copy, (void *)loaded, (void *)stranger, (void *)store, (void *)other};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    }
    free_books(&b);
    return 0;
}
