/* Width: a factor on the channels of every layer, and others for some: "widths": ["conv_3 0.25"]. What has to
 * keep its channels does. The channels between two factors of a layer are not the source's, and stay. */
#include "coordinator/target_kind.h"

#include <stdlib.h>
#include <string.h>

static bool is_between_factors(const struct skeleton *skeleton, const struct channel_map *map, int group) {
    for (int i = 0; i < skeleton->graph->nnodes; i++) {
        int width;
        const struct channel *channel = channel_map_of(map, i, &width);
        if (skeleton->part[skeleton->graph->node[i].layer] == PART_LEFT && width && channel[0].group == group)
            return true;
    }
    return false;
}

/* "name factor" */
static status parse(const char *text, const struct graph *graph, int *layer, double *factor) {
    const char *space = strrchr(text, ' ');
    char *name = space ? strndup(text, (size_t)(space - text)) : NULL, *end = NULL;
    if (space && !name) return status_no_memory("a name", strlen(text));
    *factor = space ? strtod(space + 1, &end) : 0;
    status error = SUCCESS;
    if (!space || end == space + 1 || *end || !(*factor > 0 && *factor <= 1))
        error = status_fail(
            STATUS_USAGE,
            "target.widths: \"%.80s\" is no layer's name, a space and a factor above 0, at most 1", text);
    *layer = name ? graph_find_layer(graph, name) : -1;
    if (!error && *layer < 0) {
        const char *near = graph_nearest_layer(graph, NULL, name);
        error = status_fail(STATUS_USAGE, "target.widths: there is no layer \"%.80s\"%s%s%s", name,
                            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    free(name);
    return error;
}

/* The group whose channels a layer makes or ends with; -1: none, or several. */
static int group_of(const struct graph *graph, const struct channel_map *map, int layer) {
    int node = graph_layer_node(graph, layer), width;
    if (node < 0) return -1;
    const struct channel *channel = channel_map_of(map, node, &width);
    for (int i = 1; i < width; i++)
        if (channel[i].group != channel[0].group) return -1;
    return width ? channel[0].group : -1;
}

/* The group inside a layer that has one: "widths" of attention are of its heads. */
static int inner_group(const struct graph *graph, const struct channel_map *map, int layer) {
    int node = graph_layer_node(graph, layer), width = 0;
    const struct channel *channel = node < 0 ? NULL : channel_map_inner(map, node, &width);
    return width ? channel[0].group : -1;
}

static status narrow(const struct target_config *config, const struct skeleton *skeleton,
                     const struct channel_map *map, int *kept) {
    for (int g = 0; g < channel_map_groups(map); g++)
        if (!channel_map_fixed(map, g) && !is_between_factors(skeleton, map, g))
            kept[g] = target_scaled(channel_map_width(map, g), config->width);
    for (int i = 0; i < config->nwidths; i++) {
        int layer = -1;
        double factor = 0;
        STATUS_TRY(parse(config->widths[i], skeleton->graph, &layer, &factor));
        int group = inner_group(skeleton->graph, map, layer);
        if (group < 0) group = group_of(skeleton->graph, map, layer);
        if (group < 0 || (channel_map_fixed(map, group) && factor < 1))
            return status_fail(
                STATUS_USAGE, "target.widths: the channels of \"%s\" %s", skeleton->graph->layer[layer].name,
                group < 0 ? "are those of several layers; name these" : "have to be kept whole");
        kept[group] = target_scaled(channel_map_width(map, group), factor);
    }
    return SUCCESS;
}

const struct target_kind target_width = {.narrow = narrow};
