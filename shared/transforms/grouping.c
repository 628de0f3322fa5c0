#include "shared/transforms/grouping.h"

struct grouping grouping_of(const struct shape *shape, int axis, int kind) {
    struct grouping g = {.inner = 1, .size = 1, .outer = 1, .kind = kind};
    for (int i = 0; i < shape->rank; i++)
        *(i < axis ? &g.outer : i == axis ? &g.size : &g.inner) *= shape->dim[i];
    return g;
}

int64_t grouping_count(const struct grouping *g) {
    return g->kind == GROUP_ALL ? 1 : g->kind == GROUP_ALONG ? g->outer * g->inner : g->size;
}

int64_t grouping_at(const struct grouping *g, int64_t position) {
    if (g->kind == GROUP_ALL) return 0;
    if (g->kind == GROUP_BESIDE) return position / g->inner % g->size;
    return position / (g->inner * g->size) * g->inner + position % g->inner;
}

struct grouping_run grouping_run_at(const struct grouping *g, int64_t position, int64_t most) {
    struct grouping_run run = {.first = grouping_at(g, position), .length = most};
    bool beside = g->kind == GROUP_BESIDE;
    int64_t length = g->inner > 1 ? g->inner - position % g->inner : g->size - position % g->size;
    if (g->kind == GROUP_ALL) return run;
    run.step = beside ? g->inner == 1 : g->inner > 1;
    if (length < most) run.length = length;
    return run;
}
