/* From a program's text to a target. */
#include "coordinator/compile_parts.h"

#include <stdlib.h>
#include <string.h>

/* What a program keeps of each group: all, unless a keep list says otherwise. */
static status widths_of_program(struct compiled *c, struct position *at) {
    STATUS_TRY(compile_keep_all(c));
    for (int i = 0; i < c->plan->nkeeps; i++) {
        const struct keep *k = &c->plan->keep[i];
        const char *name = c->skeleton->graph->layer[c->skeleton->graph->node[k->node].layer].name;
        int width, group = channel_map_whole(c->map, k->node, k->inner);
        compile_channels(c, k->node, k->inner, &width);
        *at = k->at;
        if (k->of != (int64_t)width * k->repeat)
            return status_fail(STATUS_DATA, "\"%s\" has %d %s, not %lld", name, width,
                               k->inner ? "heads" : "channels", (long long)(k->of / k->repeat));
        if (!k->selected) continue;
        if (group < 0 || (channel_map_fixed(c->map, group) && k->n != k->of))
            return status_fail(STATUS_DATA, "the channels of \"%s\" cannot be selected: %s", name,
                               group < 0 ? "they are those of other layers, which channels() takes"
                                         : "they are kept whole");
        c->kept[group] = (int)(k->n / k->repeat);
    }
    *at = (struct position){0};
    return SUCCESS;
}

/* What a statement says of a group whose channels index an axis of its tensor, `each` positions for one. */
static void width_of_axis(struct compiled *c, const struct plan_statement *s, int axis, int group,
                          int64_t each) {
    const struct shape *wide = &c->skeleton->graph->layer[s->layer].weight[s->weight].shape;
    if (group < 0 || channel_map_fixed(c->map, group) || each < 1 || s->shape.rank != wide->rank) return;
    if (c->kept[group] == wide->dim[axis] / each && s->shape.dim[axis] < wide->dim[axis])
        c->kept[group] = (int)(s->shape.dim[axis] / each);
}

/* A group that has no keep list is as wide as the statements of its first layer say. */
static void widths_of_statements(struct compiled *c) {
    const struct graph *wide = c->skeleton->graph;
    for (int i = 0; i < c->plan->nstatements; i++) {
        const struct plan_statement *s = &c->plan->statement[i];
        const struct weight *w = &wide->layer[s->layer].weight[s->weight];
        int node = graph_layer_node(wide, s->layer), heads;
        if (node < 0) continue;
        if (w->out_axis >= 0)
            width_of_axis(c, s, w->out_axis, channel_map_whole(c->map, node, false),
                          w->blocks > 1 ? w->blocks : 1);
        compile_channels(c, node, true, &heads);
        for (int axis = 0; axis < w->shape.rank && heads; axis++)
            if (w->inner_axes & 1U << axis)
                width_of_axis(c, s, axis, channel_map_whole(c->map, node, true), w->shape.dim[axis] / heads);
    }
}

/* The program says which blocks are left out, if it names any; what is to be measured it does not need. */
static status begin_program(const struct graph *source, const char *text, const struct target_config *config,
                            struct compiled **compiled, struct position *at) {
    struct target_config asked = *config;
    struct plan_edits edits;
    STATUS_TRY(plan_parse_edits(text, strlen(text), &edits, at));
    asked.blocks_removed = asked.rank_energy = 0;
    if (edits.nbypassed) {
        asked.depth = edits.bypassed;
        asked.ndepth = edits.nbypassed;
    }
    if (edits.nfactored) {
        asked.rank = 1;
        asked.ranks = edits.factored;
        asked.nranks = edits.nfactored;
    }
    status error = compile_begin(source, &asked, compiled);
    bool edited = edits.nbypassed || edits.nfactored;
    plan_edits_free(&edits);
    return edited && status_code(error) == STATUS_USAGE ? status_recode(error, STATUS_DATA) : error;
}

status compile_program(const struct graph *source, const char *source_path, const char *digest,
                       const char *text, const struct target_config *config, const char *name,
                       struct compiled **compiled, struct position *at) {
    struct compiled *c = NULL;
    STATUS_TRY(begin_program(source, text, config, &c, at));
    status error = plan_parse(text, strlen(text), source, c->skeleton->graph, &c->plan, at);
    if (!error && digest && c->plan->source_digest && strcmp(digest, c->plan->source_digest) != 0)
        error = status_fail(
            STATUS_DATA,
            "the program was made for another source, %s, than %s, %s; take \"digest ...\" out of "
            "it to run it all the same",
            c->plan->source_digest, source_path, digest);
    if (!error) error = widths_of_program(c, at);
    if (!error) widths_of_statements(c);
    if (!error) error = compile_narrow(c, name);
    if (!error) {
        c->plan->target = c->target;
        error = plan_check(c->plan, at);
    }
    if (!error) error = compile_full_programs(c, source, source_path, digest);
    if (error) compiled_destroy(&c);
    *compiled = c;
    return error;
}

/* ---- channels that a program has chosen ---- */

bool compile_is_given(const struct compiled *c) {
    for (int i = 0; i < c->plan->nkeeps; i++)
        if (c->plan->keep[i].selected && !c->plan->keep[i].given) return false;
    return true;
}

static status lists_of_groups(const struct compiled *c, bool given, int64_t **chosen) {
    for (int i = 0; i < c->plan->nkeeps; i++) {
        const struct keep *k = &c->plan->keep[i];
        bool counts = k->selected && (given ? k->given : k->index != NULL);
        int group = counts ? channel_map_whole(c->map, k->node, k->inner) : -1;
        if (group < 0 || k->n == k->of) continue;
        int64_t n = k->n / k->repeat, *list = malloc((size_t)n * sizeof *list);
        if (!list) return status_no_memory("channels", (size_t)n * sizeof *list);
        for (int64_t j = 0; j < n; j++) list[j] = k->index[j * k->repeat] / k->repeat;
        free(chosen[group]);
        chosen[group] = list;
    }
    return SUCCESS;
}

status compile_given(const struct compiled *c, int64_t **chosen) {
    return lists_of_groups(c, true, chosen);
}

status compile_chosen(const struct compiled *c, int64_t **chosen) {
    return lists_of_groups(c, false, chosen);
}
