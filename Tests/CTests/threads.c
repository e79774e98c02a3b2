// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include "driver.h"

#define MOST_WORKERS 16

/// One worker of one loop.
typedef struct member {
    pthread_t thread;
    uint32_t worker, workers;
    int64_t tasks;
    lhk_task task;
    void *context;
} member;

static void *run_member(void *data) {
    const member *m = data;
    for (int64_t i = m->worker; i < m->tasks; i += m->workers) m->task(m->context, i, m->worker);
    return NULL;
}

static void run_threads(void *context, int64_t tasks, lhk_task task, void *task_context) {
    member members[MOST_WORKERS] = {0};
    uint32_t workers = (uint32_t)(uintptr_t)context;
    for (uint32_t w = 0; w < workers; w++) {
        members[w] = (member){.worker = w, .workers = workers, .tasks = tasks, .task = task, .context = task_context};
        if (w && pthread_create(&members[w].thread, NULL, run_member, &members[w])) abort();
    }
    run_member(&members[0]);
    for (uint32_t w = 1; w < workers; w++) pthread_join(members[w].thread, NULL);
}

lhk_host driver_thread_host(uint32_t workers) {
    return (lhk_host){.struct_size = sizeof(lhk_host), .workers = workers < MOST_WORKERS ? workers : MOST_WORKERS,
                      .isa = lhk_isa_detect(), .context = (void *)(uintptr_t)(workers < MOST_WORKERS ? workers : MOST_WORKERS),
                      .parallel_for = run_threads};
}
