#include "coordinator/main_dry_run.h"

#include "coordinator/main_migration.h"
#include "coordinator/program.h"
#include "io/digest.h"
#include "io/registry.h"

#include <stdio.h>
#include <stdlib.h>

#define MIB 1048576.0

static void print_sizes(const struct graph_counts *source, const struct graph_counts *target) {
    printf("\n# %-26s %14s %14s %10s\n", "", "source", "target", "ratio");
    printf("# %-26s %14lld %14lld %10.2f\n", "parameters", (long long)source->params,
           (long long)target->params, (double)target->params / (double)(source->params ? source->params : 1));
    if (source->flops > 0 && target->flops > 0)
        printf("# %-26s %14.2f %14.2f %10.2f\n", "MFLOP a sample", source->flops / 1e6, target->flops / 1e6,
               target->flops / source->flops);
    printf("# %-26s %14.2f %14.2f\n", "MiB of parameters", (double)source->params * sizeof(float) / MIB,
           (double)target->params * sizeof(float) / MIB);
}

/* Slices and bytes of every rank. */
static status print_ranks(const struct compiled *c, const struct config *config, int nranks,
                          int64_t source_params) {
    struct partition *partition = NULL;
    double *bytes = calloc((size_t)nranks, sizeof *bytes), all = 0;
    status error = bytes ? program_partition(c->plan, nranks, &partition) : status_no_memory("ranks", 0);
    struct migration migration = {.plan = c->plan,
                                  .partition = partition,
                                  .chunk_bytes = migration_chunk_bytes(config),
                                  .final = migration_streams(config)};
    if (!error) error = migration_bytes(&migration, bytes);
    if (!error) printf("\n# %-6s %-16s %20s\n", "rank", "slices", "MiB of the source");
    for (int r = 0; r < nranks && !error; r++) {
        int first = -1, last = -1;
        char slices[32] = "none";
        for (int s = 0; s < c->plan->nslices; s++) {
            if (r < partition->first_rank[s] || r >= partition->first_rank[s] + partition->ranks[s]) continue;
            if (first < 0) first = s;
            last = s;
        }
        if (first >= 0) snprintf(slices, sizeof slices, first == last ? "%d" : "%d to %d", first, last);
        printf("# %-6d %-16s %20.2f\n", r, slices, bytes[r] / MIB);
        all += bytes[r];
    }
    if (!error)
        printf("# %-6s %-16s %20.2f of %.2f\n", "all", "", all / MIB,
               (double)source_params * sizeof(float) / MIB);
    partition_destroy(&partition);
    free(bytes);
    return error;
}

/* The program as it is printed has no channels chosen that its text did not; to be evaluated it needs some.
 */
static status describe(struct compiled *c, const struct graph *source, const struct config *config,
                       int nranks, int64_t *const *chosen) {
    struct graph_counts before, after;
    char *text = NULL;
    STATUS_TRY(graph_count(source, &before));
    STATUS_TRY(graph_count(c->target, &after));
    STATUS_TRY(plan_print(c->plan, &text));
    fputs(text, stdout);
    free(text);
    print_sizes(&before, &after);
    STATUS_TRY(compile_choose(c, chosen));
    return print_ranks(c, config, nranks, before.params);
}

/* Rank 0 does all: nothing that takes long. */
static status look(const struct session *session, const struct config *config, const char *plan) {
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct compiled *compiled = NULL;
    char *path = NULL, *digest = NULL;
    const struct keras_options keras = config_keras_options(config);
    status error;
    STATUS_GOTO(error, done, config_require(config, "name"));
    STATUS_GOTO(error, done, config_require(config, "source"));
    STATUS_GOTO(error, done, registry_resolve(config->models, config->source.model, &path));
    STATUS_GOTO(error, done, file_digest_shown(path, session->log, &digest));
    STATUS_GOTO(error, done, keras_open(path, &keras, &file, &graph));
    const struct program_source source = {graph, path, digest};
    STATUS_GOTO(error, done, program_compile(NULL, session->log, &source, config, plan, &compiled));
    int64_t **chosen = calloc((size_t)channel_map_groups(compiled->map) + 1, sizeof *chosen);
    if (!chosen) error = status_no_memory("channels", 0);
    if (!error) error = compile_given(compiled, chosen);
    if (!error) error = describe(compiled, graph, config, comm_size(session->world), chosen);
    for (int g = 0; chosen && g < channel_map_groups(compiled->map); g++) free(chosen[g]);
    free(chosen);
done:
    compiled_destroy(&compiled);
    graph_destroy(&graph);
    keras_close(&file);
    free(digest);
    free(path);
    return error;
}

status dry_run(const struct session *session, const struct config_arguments *arguments, const char *plan) {
    struct config *config = NULL;
    status error = config_load(session->world, arguments, &config);
    if (!error) {
        if (comm_is_root(session->world)) error = config_require_one_target(config);
        if (!error && comm_is_root(session->world)) error = look(session, config, plan);
        error = comm_agree(session->world, error);
    }
    config_destroy(&config);
    return error;
}
