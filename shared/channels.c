/* Atoms, the classes they form when tied (union-find), and groups of classes with the same producers. */
#include "shared/channels.h"

#include <stdlib.h>
#include <string.h>

struct node_channels {
    int width;
    int *atom;               /* [width] */
    struct channel *channel; /* [width], filled last */
    int inner;               /* how many there are inside the node, likewise: */
    int *inner_atom;
    struct channel *inner_channel;
};

struct channel_map {
    int nnodes;
    struct node_channels *node; /* [nnodes] */
    int natoms, room;
    int *parent;   /* [room] union-find over atoms */
    int *producer; /* [room] node that made the atom; of those inside a node, the node plus nnodes */
    bool *whole;   /* [room] must be kept */
    int ngroups;
    int *group_width;  /* [ngroups] */
    bool *group_fixed; /* [ngroups] */
};

/* ---- union-find ---- */

static int find(int *parent, int i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* The lower number stays the root, so that the order of atoms orders classes. */
static void tie(int *parent, int a, int b) {
    a = find(parent, a);
    b = find(parent, b);
    if (a < b) parent[b] = a;
    else parent[a] = b;
}

static status grow(void *array, size_t count, size_t size) {
    void *old, *larger;
    memcpy(&old, array, sizeof old);
    larger = realloc(old, count * size);
    if (!larger) return status_no_memory("channels", count * size);
    memcpy(array, &larger, sizeof larger);
    return SUCCESS;
}

static status add_atoms(struct channel_map *map, int node, int n, bool whole, int *atom) {
    if (n > INT32_MAX / 2 - map->natoms) return status_fail(STATUS_DATA, "the model has too many channels");
    if (map->natoms + n > map->room) {
        int room = 2 * (map->natoms + n);
        STATUS_TRY(grow(&map->parent, (size_t)room, sizeof *map->parent));
        STATUS_TRY(grow(&map->producer, (size_t)room, sizeof *map->producer));
        STATUS_TRY(grow(&map->whole, (size_t)room, sizeof *map->whole));
        map->room = room;
    }
    for (int i = 0; i < n; i++) {
        int next = map->natoms++;
        map->parent[next] = next;
        map->producer[next] = node;
        map->whole[next] = whole;
        atom[i] = next;
    }
    return SUCCESS;
}

/* ---- the rules that layer kinds name ---- */

/* Positions on the last axis; none if their number is unknown. */
static int width_of(const struct shape *shape) {
    int64_t last = shape->rank > 1 ? shape->dim[shape->rank - 1] : 0;
    return last < 0 ? 0 : last > INT32_MAX ? INT32_MAX : (int)last;
}

static void keep_whole(struct channel_map *map, const int *atom, int n) {
    for (int i = 0; i < n; i++) map->whole[atom[i]] = true;
}

status channels_fresh(struct channels *c) {
    return add_atoms(c->map, c->node, width_of(c->out), false, c->out_atom);
}

status channels_fresh_whole(struct channels *c) {
    return add_atoms(c->map, c->node, width_of(c->out), true, c->out_atom);
}

status channels_inner(struct channels *c, int n) {
    struct node_channels *node = &c->map->node[c->node];
    node->inner_atom = calloc((size_t)n + 1, sizeof *node->inner_atom);
    node->inner_channel = calloc((size_t)n + 1, sizeof *node->inner_channel);
    if (!node->inner_atom || !node->inner_channel)
        return status_no_memory("channels", (size_t)n * sizeof *node->inner_channel);
    node->inner = n;
    return add_atoms(c->map, c->node + c->map->nnodes, n, false, node->inner_atom);
}

void channels_keep(struct channels *c, int input) {
    keep_whole(c->map, c->in_atom[input], width_of(&c->in[input]));
}

status channels_fix(struct channels *c) {
    for (int k = 0; k < c->nin; k++) channels_keep(c, k);
    return channels_fresh_whole(c);
}

status channels_same(struct channels *c) {
    int width = width_of(c->out), first = -1;
    for (int k = 0; k < c->nin; k++) {
        if (width_of(&c->in[k]) != width) {
            channels_keep(c, k);
        } else if (first < 0) {
            first = k;
            for (int i = 0; i < width; i++) c->out_atom[i] = c->in_atom[k][i];
        } else {
            for (int i = 0; i < width; i++) tie(c->map->parent, c->in_atom[first][i], c->in_atom[k][i]);
        }
    }
    return first < 0 ? channels_fix(c) : SUCCESS;
}

status channels_concat(struct channels *c) {
    int width = width_of(c->out), at = 0;
    for (int k = 0; k < c->nin; k++) {
        int n = width_of(&c->in[k]);
        if (n > width - at) return channels_fix(c);
        for (int i = 0; i < n; i++) c->out_atom[at++] = c->in_atom[k][i];
    }
    return at == width ? SUCCESS : channels_fix(c);
}

status channels_tile(struct channels *c) {
    int width = width_of(c->out), n = width_of(&c->in[0]);
    if (!n || !width || width % n) return channels_fix(c);
    for (int i = 0; i < width; i++) c->out_atom[i] = c->in_atom[0][i % n];
    return SUCCESS;
}

status channels_repeat(struct channels *c) {
    int width = width_of(c->out), n = width_of(&c->in[0]);
    if (!n || !width || width % n) return channels_fix(c);
    for (int i = 0; i < width; i++) c->out_atom[i] = c->in_atom[0][i / (width / n)];
    return SUCCESS;
}

/* ---- the whole graph ---- */

/* Atoms that go into a node. Outputs but the first carry no known atoms: fresh ones, kept whole. */
static status gather_inputs(struct channel_map *map, const struct graph *graph, int n, struct shape *in,
                            const int **in_atom, int **own) {
    const struct node *node = &graph->node[n];
    for (int k = 0; k < node->nin; k++) {
        struct edge edge = node->in[k];
        in[k] = graph->node[edge.node].out[edge.slot];
        in_atom[k] = map->node[edge.node].atom;
        if (edge.slot == 0) continue;
        int width = width_of(&in[k]);
        own[k] = calloc((size_t)width + 1, sizeof *own[k]);
        if (!own[k]) return status_no_memory("channels", (size_t)width * sizeof *own[k]);
        STATUS_TRY(add_atoms(map, edge.node, width, true, own[k]));
        in_atom[k] = own[k];
    }
    return SUCCESS;
}

/* A layer called again has the same weights, so the same channels go in and come out. */
static void tie_calls(struct channel_map *map, const struct graph *graph, int first, int again,
                      const int *const *in_atom) {
    const struct node *a = &graph->node[first], *b = &graph->node[again];
    if (!graph->layer[b->layer].nweights || a->nin != b->nin) return;
    for (int k = 0; k < b->nin; k++) {
        int width = map->node[a->in[k].node].width;
        if (a->in[k].slot || width != width_of(&graph->node[b->in[k].node].out[b->in[k].slot])) continue;
        for (int i = 0; i < width; i++) tie(map->parent, map->node[a->in[k].node].atom[i], in_atom[k][i]);
    }
    for (int i = 0; i < map->node[first].inner && i < map->node[again].inner; i++)
        tie(map->parent, map->node[first].inner_atom[i], map->node[again].inner_atom[i]);
    if (map->node[first].width != map->node[again].width) return;
    for (int i = 0; i < map->node[first].width; i++)
        tie(map->parent, map->node[first].atom[i], map->node[again].atom[i]);
}

static status map_node(struct channel_map *map, const struct graph *graph, int n, int first_call) {
    const struct node *node = &graph->node[n];
    const struct layer *layer = &graph->layer[node->layer];
    struct node_channels *channels = &map->node[n];
    size_t nin = (size_t)node->nin + 1;
    struct shape *in = calloc(nin, sizeof *in);
    const int **in_atom = calloc(nin, sizeof *in_atom);
    int **own = calloc(nin, sizeof *own);
    channels->width = width_of(&node->out[0]);
    channels->atom = calloc((size_t)channels->width + 1, sizeof *channels->atom);
    channels->channel = calloc((size_t)channels->width + 1, sizeof *channels->channel);
    status error = SUCCESS;
    if (!in || !in_atom || !own || !channels->atom || !channels->channel)
        error = status_no_memory("channels", (size_t)channels->width * sizeof *channels->channel);
    if (!error) error = gather_inputs(map, graph, n, in, in_atom, own);
    if (!error) {
        struct channels c = {.map = map,
                             .nin = node->nin,
                             .in = in,
                             .out = &node->out[0],
                             .in_atom = in_atom,
                             .out_atom = channels->atom,
                             .node = n};
        error = layer->kind->channels ? layer->kind->channels(layer, &c) : channels_fix(&c);
    }
    if (!error && first_call >= 0) tie_calls(map, graph, first_call, n, in_atom);
    for (int k = 0; own && k < node->nin; k++) free(own[k]);
    free(own);
    free(in_atom);
    free(in);
    return error;
}

static struct channel channel_of_atom(const struct channel_map *map, const int *group_of, int *producers,
                                      const int *index, int atom) {
    int root = find(map->parent, atom);
    return (struct channel){.group = group_of[find(producers, map->producer[root])], .index = index[root]};
}

/* Numbers groups and, within each, classes, both in the order of their first atoms. Two producers are in one
 * group if a class has atoms of both, directly or by way of others. */
static status number_groups(struct channel_map *map) {
    size_t natoms = (size_t)map->natoms, nproducers = 2 * (size_t)map->nnodes;
    int *group_of = malloc((nproducers + 1) * sizeof *group_of);   /* a producer */
    int *producers = malloc((nproducers + 1) * sizeof *producers); /* union-find over them */
    int *index = malloc((natoms + 1) * sizeof *index); /* of the class within its group, at the root */
    map->group_width = calloc(nproducers + 1, sizeof *map->group_width);
    map->group_fixed = calloc(nproducers + 1, sizeof *map->group_fixed);
    if (!group_of || !producers || !index || !map->group_width || !map->group_fixed) {
        free(group_of);
        free(producers);
        free(index);
        return status_no_memory("channels", natoms * sizeof *index);
    }
    for (int n = 0; n < (int)nproducers; n++) {
        producers[n] = n;
        group_of[n] = -1;
    }
    for (int a = 0; a < map->natoms; a++)
        tie(producers, map->producer[a], map->producer[find(map->parent, a)]);
    for (int a = 0; a < map->natoms; a++) {
        int *group = &group_of[find(producers, map->producer[a])];
        if (*group < 0) *group = map->ngroups++;
        if (find(map->parent, a) == a) index[a] = map->group_width[*group]++;
        if (map->whole[a]) map->group_fixed[*group] = true;
    }
    for (int n = 0; n < map->nnodes; n++) {
        struct node_channels *node = &map->node[n];
        for (int i = 0; i < node->width; i++)
            node->channel[i] = channel_of_atom(map, group_of, producers, index, node->atom[i]);
        for (int i = 0; i < node->inner; i++)
            node->inner_channel[i] = channel_of_atom(map, group_of, producers, index, node->inner_atom[i]);
    }
    free(group_of);
    free(producers);
    free(index);
    return SUCCESS;
}

status channel_map_create(const struct graph *graph, struct channel_map **map) {
    struct channel_map *m = calloc(1, sizeof *m);
    int *first_call = calloc((size_t)graph->nlayers + 1, sizeof *first_call); /* node, plus 1 */
    status error = SUCCESS;
    if (m) {
        m->nnodes = graph->nnodes;
        m->node = calloc((size_t)graph->nnodes + 1, sizeof *m->node);
    }
    if (!m || !m->node || !first_call)
        error = status_no_memory("channels", (size_t)graph->nnodes * sizeof *m->node);
    for (int n = 0; n < graph->nnodes && !error; n++) {
        int layer = graph->node[n].layer;
        error = map_node(m, graph, n, first_call[layer] - 1);
        if (!first_call[layer]) first_call[layer] = n + 1;
    }
    for (int i = 0; i < graph->ninputs && !error; i++)
        keep_whole(m, m->node[graph->input[i].node].atom, m->node[graph->input[i].node].width);
    for (int i = 0; i < graph->noutputs && !error; i++)
        keep_whole(m, m->node[graph->output[i].node].atom, m->node[graph->output[i].node].width);
    if (!error) error = number_groups(m);
    free(first_call);
    if (error) {
        channel_map_destroy(&m);
        return error;
    }
    *map = m;
    return SUCCESS;
}

void channel_map_destroy(struct channel_map **map) {
    struct channel_map *m = *map;
    if (!m) return;
    for (int n = 0; m->node && n < m->nnodes; n++) {
        free(m->node[n].atom);
        free(m->node[n].channel);
        free(m->node[n].inner_atom);
        free(m->node[n].inner_channel);
    }
    free(m->node);
    free(m->parent);
    free(m->producer);
    free(m->whole);
    free(m->group_width);
    free(m->group_fixed);
    free(m);
    *map = NULL;
}

int channel_map_groups(const struct channel_map *map) {
    return map->ngroups;
}

bool channel_map_fixed(const struct channel_map *map, int group) {
    return map->group_fixed[group];
}

int channel_map_width(const struct channel_map *map, int group) {
    return map->group_width[group];
}

const struct channel *channel_map_of(const struct channel_map *map, int node, int *width) {
    *width = map->node[node].width;
    return map->node[node].channel;
}

const struct channel *channel_map_inner(const struct channel_map *map, int node, int *width) {
    *width = map->node[node].inner;
    return map->node[node].inner_channel;
}

int channel_map_whole(const struct channel_map *map, int node, bool inner) {
    int width;
    const struct channel *channel =
        inner ? channel_map_inner(map, node, &width) : channel_map_of(map, node, &width);
    if (!width || channel_map_width(map, channel[0].group) != width) return -1;
    for (int i = 0; i < width; i++)
        if (channel[i].group != channel[0].group || channel[i].index != i) return -1;
    return channel[0].group;
}
