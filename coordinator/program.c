#include "coordinator/program.h"

#include "coordinator/blocks.h"
#include "coordinator/budget.h"
#include "io/file.h"
#include "shared/transform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)64 << 20)

/* The text on every rank. */
static status read_text(const struct comm *world, const char *path, char **text) {
    char *read = NULL;
    status error = !world || comm_is_root(world) ? file_read_text(path, MAX_BYTES, &read) : SUCCESS;
    if (!world) {
        *text = read;
        return error;
    }
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, read, text);
    free(read);
    return error;
}

static void show(struct log *log, const char *text, struct position at) {
    char *excerpt = plan_excerpt(text, strlen(text), at);
    if (!excerpt) return;
    char *caret = strchr(excerpt, '\n');
    *caret++ = 0;
    log_line(log, LOG_INFO, "%s", excerpt);
    log_line(log, LOG_INFO, "%s", caret);
    free(excerpt);
}

/* What the layers of a given topology stand for. */
static void say_matches(struct log *log, const struct skeleton *s) {
    int same = 0, anew = 0, alone = 0;
    for (int l = 0; l < s->graph->nlayers && s->given; l++) {
        const struct layer *layer = &s->graph->layer[l];
        if (!layer->nweights) continue;
        bool copied = s->part[l] == PART_WHOLE || s->part[l] == PART_SEPARABLE, none = s->folded_layer[l] < 0;
        *(none ? &alone : copied ? &same : &anew) += 1;
        log_line(log, LOG_DEBUG, "\"%s\" %s%s%s%s", layer->name,
                 none ? "stands for no layer" : "stands for \"",
                 none ? "" : s->fold->graph->layer[s->folded_layer[l]].name, none ? "" : "\"",
                 copied || none ? "" : ", but starts anew");
    }
    if (s->given)
        log_line(log, LOG_INFO,
                 "topology: of its layers with weights, %d start as layers of the source, %d anew, fitted to "
                 "the source's outputs, and %d stand for none",
                 same, anew, alone);
}

/* What a run measures first, where this is none. */
static status report_unmeasured(struct log *log, const struct config *config, const struct compiled *c) {
    int wanted, of;
    if (budget_needs_latency(&config->target))
        log_line(
            log, LOG_INFO,
            "what widths keep the target's latency within the limit, godwit migrate measures; this program "
            "minds the other limits only");
    if (config->target.rank_energy > 0)
        log_line(
            log, LOG_INFO,
            "what ranks keep that part of the variance, godwit migrate measures; this program factors what "
            "target.rank and target.ranks say");
    if (!(config->target.blocks_removed > 0)) return SUCCESS;
    STATUS_TRY(blocks_wanted(&config->target, c->fold->graph, &wanted, &of));
    log_line(
        log, LOG_INFO,
        "%d of %d residual blocks are to be left out of this program; which ones, godwit migrate measures",
        wanted, of);
    return SUCCESS;
}

status program_compile(const struct comm *world, struct log *log, const struct program_source *source,
                       const struct config *config, const char *path, struct compiled **compiled) {
    struct position at;
    char *text = NULL;
    if (!path) {
        STATUS_TRY(compile_target(source->graph, source->path, source->digest, &config->target, config->name,
                                  compiled));
        say_matches(log, (*compiled)->skeleton);
        return world ? SUCCESS : report_unmeasured(log, config, *compiled);
    }
    STATUS_TRY(read_text(world, path, &text));
    status error = compile_program(source->graph, source->path, source->digest, text, &config->target,
                                   config->name, compiled, &at);
    if (error && at.line) {
        show(log, text, at);
        error = status_context(error, "%s:%d:%d", path, at.line, at.column);
    } else {
        error = status_context(error, "%s", path);
    }
    free(text);
    return error;
}

status program_partition(const struct plan *plan, int nranks, struct partition **partition) {
    double *cost = calloc((size_t)plan->nslices + 1, sizeof *cost);
    if (!cost) return status_no_memory("slices", (size_t)plan->nslices * sizeof *cost);
    status error = SUCCESS;
    for (int i = 0; i < plan->nstatements && !error; i++) {
        int64_t count = 0;
        error = shape_count(&plan->statement[i].shape, &count);
        if (!error) cost[plan->statement[i].slice] += (double)count * sizeof(float);
    }
    if (!error) error = partition_create(plan->nslices, cost, nranks, partition);
    free(cost);
    return error;
}

static const char grammar[] =
    "    program   = \"plan\" 1 \"source\" STRING [ \"digest\" DIGEST ] \"target\" STRING { bypass } { "
    "factor }\n"
    "                { keep } slice { slice }\n"
    "    bypass    = \"bypass\" STRING\n"
    "    factor    = \"factor\" STRING INTEGER\n"
    "    keep      = \"keep\" NAME \"=\" ( \"select\" | \"heads\" | \"channels\" )\n"
    "                \"(\" STRING \",\" INTEGER \"of\" INTEGER [ \",\" \"repeat\" INTEGER ] [ \",\" "
    "positions ] \")\"\n"
    "    slice     = \"slice\" INTEGER STRING \"{\" { statement } \"}\"\n"
    "    statement = STRING shape \"=\" expr\n"
    "    expr      = ( \"source\" \"[\" STRING \"]\" | NAME \"(\" [ argument { \",\" argument } ] \")\" )\n"
    "                { \"[\" index { \",\" index } \"]\" }\n"
    "    argument  = expr | [ NAME ] ( INTEGER | NUMBER | shape | NAME | STRING )\n"
    "    index     = \":\" | INTEGER \":\" INTEGER [ \":\" INTEGER ] | NAME | positions\n"
    "    shape     = \"(\" [ INTEGER { \",\" INTEGER } [ \",\" ] ] \")\"\n"
    "    positions = \"[\" { INTEGER } \"]\"\n";

static void describe(FILE *out) {
    fprintf(
        out,
        "A migration program says of every tensor of the target from which tensor of the source it "
        "comes, which "
        "part of it, and through which transforms. `godwit plan CONFIG` prints it, `godwit migrate "
        "CONFIG --plan "
        "FILE` runs an edited one, and after a run the executed program lies beside the target: with the "
        "channels that were chosen, so that running it again gives the same.\n\n"
        "%s\n"
        "`bypass \"add_3\"`: the target does without the residual block that ends in this Add of the "
        "source. `factor \"conv_3\" 12`: the kernel of this layer of the source is a product of two "
        "of that rank; of a program with none of these lines the configuration says it. Which layers stand "
        "in "
        "the place of others (`target.replace`, `target.topology`, `target.head`) is always said by the "
        "configuration: run a program with the one that it was made with.\n\n"
        "White space and line ends are all one; `#` begins a comment. Names of layers and tensors are in "
        "quotation marks, with `\\\"` and `\\\\` for those in them.\n\n"
        "`select(\"conv2d\", 16 of 32)` is a list of channels to be chosen for a group of coupled "
        "channels, named "
        "by the first layer that makes them; `heads(\"mha\", 2 of 4)` is one of heads inside an attention "
        "layer, of groups of them if keys and values have fewer; `channels(\"concatenate\", 48 of 96)` is "
        "what such choices "
        "leave of a "
        "layer's output; with positions, `select(\"conv2d\", 4 of 32, [0 3 4 7])`, nothing is chosen any "
        "more. "
        "`repeat 9`: each channel stands for so many positions, as behind a Flatten. The target is as "
        "wide as "
        "its statements say.\n\n"
        "A slice ends with the layer that it names; slices are what ranks share out. In dynamic "
        "migration they do so chunk by chunk, some rows of a tensor at a time. Most transforms then "
        "need no more of their argument than those rows; transpose, low_rank, separable and project hold "
        "all of it in "
        "memory, normalize and quantize read it once more before.\n\n"
        "| transform | gives |\n|---|---|\n",
        grammar);
    for (int i = 0; i < transform_count(); i++)
        fprintf(out, "| `%s` | %s |\n", transform_at(i)->usage, transform_at(i)->doc);
}

status program_describe(char **text) {
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) return status_no_memory("a description", 0);
    describe(out);
    if (fclose(out) == 0 && *text) return SUCCESS;
    free(*text);
    *text = NULL;
    return status_no_memory("a description", size);
}
