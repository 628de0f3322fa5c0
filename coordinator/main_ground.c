#include "coordinator/main_ground.h"

#include "coordinator/footprint.h"
#include "coordinator/main_memory.h"
#include "coordinator/main_phases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576.0

status ground_open(const struct session *session, struct config *config, struct migration_run *g) {
    status error = SUCCESS;
    g->job.config = config;
    if (!config->name[0]) {
        free(config->name);
        config->name = strdup("targets");
        if (!config->name) error = status_no_memory("a name", sizeof "targets");
    }
    STATUS_TRY(comm_agree(session->world, error));
    STATUS_TRY(job_begin_several(session, config, &g->job));
    STATUS_TRY(migration_open_source(g));
    return job_belongs_to(&g->job, g->source_digest);
}

/* The source as a target of itself: its batch norms are folded. */
static status compile_source(struct migration_run *g) {
    struct config *plain = NULL;
    STATUS_TRY(config_parse("{\"target\": {\"width\": 1}}", "the source", &plain));
    status error = compile_target(g->source_graph, g->source_path, g->source_digest, &plain->target, "source",
                                  &g->compiled);
    config_destroy(&plain);
    return error;
}

static status open_data(struct migration_run *g) {
    struct shape input = {0};
    status error = config_require(g->job.config, "data.path");
    if (!error) error = model_input(g->source, &input);
    STATUS_TRY(comm_agree(g->job.session->world, error));
    return job_open_samples(&g->job, &input, 0); /* each target checks the labels by its own classes */
}

/* Has the data labels that the source can give? */
static bool fits_source(const struct migration_run *g) {
    int64_t classes = 0;
    status error = model_classes(g->source, &classes);
    if (!error) error = dataset_require_classes(g->job.data, classes);
    bool fits = !error;
    status_drop(&error);
    return fits;
}

status ground_load(struct migration_run *g, bool labelled) {
    const struct config *c = g->job.config;
    migration_phase(g, "read source");
    STATUS_TRY(comm_agree(g->job.session->world, compile_source(g)));
    STATUS_TRY(memory_create_source(g));
    STATUS_TRY(memory_read_source(g));
    migration_phase(g, "read data");
    STATUS_TRY(open_data(g));
    STATUS_TRY(calibration_create(&g->job.machine, g->job.data, c->refit.samples, (uint64_t)c->seed, true,
                                  &g->calibration));
    return memory_measure_source(g, labelled && fits_source(g));
}

status ground_measure(const struct migration_run *g, struct ground_memory *memory) {
    const struct session *session = g->job.session;
    struct footprint f;
    footprint_read(&f);
    *memory =
        (struct ground_memory){.params = g->source ? (double)g->source->params->total * sizeof(float) : 0,
                               .samples = g->calibration ? (double)g->calibration->bytes : 0,
                               .data = g->job.data ? (double)dataset_bytes(g->job.data) : 0,
                               .peak = f.peak,
                               .parts = f.part};
    STATUS_TRY(comm_max_f64(session->world, &memory->peak, 1));
    return comm_sum_f64(session->node, &memory->parts, 1);
}

static void print_row(const char *what, double bytes, int ranks, int targets) {
    printf("%-28s %14.2f %14.2f %14.2f\n", what, bytes / MIB, bytes * ranks / MIB, bytes * targets / MIB);
}

void ground_print(const struct migration_run *g, const struct ground_memory *m, int ntargets) {
    struct log *log = g->job.session->log;
    int ranks = comm_size(g->job.session->node);
    double held = m->params + m->samples + m->data;
    LOG_EVENT(log, "memory", {"source_bytes", m->params, NULL}, {"samples_bytes", m->samples, NULL},
              {"data_bytes", m->data, NULL}, {"node_ranks", ranks, NULL}, {"targets", ntargets, NULL},
              {"saved_rank_copies_bytes", held * (ranks - 1), NULL},
              {"saved_target_copies_bytes", held * (ntargets - 1), NULL}, {"peak_rank_bytes", m->peak, NULL},
              {"node_bytes", m->parts, NULL});
    if (!(held > 0)) return;
    printf("\n%-28s %14s %14s %14s\n", "memory of a node, MiB", "as it is", "a copy a rank", "a target");
    print_row("source parameters", m->params, ranks, ntargets);
    print_row("calibration samples", m->samples, ranks, ntargets);
    print_row("data set", m->data, ranks, ntargets);
    print_row("together", held, ranks, ntargets);
    printf("saved by one copy: %.2f MiB against one of each rank, %.2f MiB against one of each target\n",
           held * (ranks - 1) / MIB, held * (ntargets - 1) / MIB);
    printf("a rank at its peak (VmHWM) %.1f MiB; the node's %d rank%s together (Pss) %.1f MiB\n",
           m->peak / MIB, ranks, ranks == 1 ? "" : "s", m->parts / MIB);
}

status ground_close(struct migration_run *g, status error) {
    migration_close(g);
    return job_close(&g->job, error);
}
