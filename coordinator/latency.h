/* What a target of any widths takes to compute one sample, from what some have been measured to take: the sum
 * over its parts. Engines are fast where channels fill their vectors and registers, so that a part may take
 * longer with fewer of them: each width that was measured several times has a line of its own, a + b in, in
 * and out being the channels that a part reads and makes; others follow a + b in + c out + d in out. And a
 * target whose latency counts is of few widths only, its levels. */
#ifndef GODWIT_COORDINATOR_LATENCY_H
#define GODWIT_COORDINATOR_LATENCY_H

#include "shared/graph.h"

struct latency_line {
    double out, c[4]; /* with so many channels made; the last two are zero */
};

/* A layer and what only passes its output on, as an activation: computes node `last` from what node `first`
 * reads. No coefficient is negative. */
struct latency_part {
    int first, last;
    double c[4]; /* seconds: 1, in, out, in * out */
    int nlines;
    struct latency_line *line; /* [nlines], owned */
};

struct latency_model {
    int nparts;
    struct latency_part *part; /* [nparts], owned */
    double scale;              /* of the sum: what is measured of the whole, over what is of its parts */
};

/* Most seconds by a model. */
struct latency_limit {
    const struct latency_model *model;
    double seconds;
};

/* The parts of a graph, whose nodes keep their numbers when it is narrowed; nothing is known of them yet. */
status latency_model_create(const struct graph *graph, struct latency_model **model) STATUS_MUST_USE;
void latency_model_destroy(struct latency_model **model);

/* Channels that a part of the graph reads (of its first input) and makes. */
void latency_widths(const struct graph *graph, const struct latency_part *part, double *in, double *out);
/* Gives a part the coefficients that come nearest to n measurements, by least squares among those that are
 * not negative. */
status latency_fit(int n, const double *in, const double *out, const double *seconds,
                   struct latency_part *part) STATUS_MUST_USE;
/* Seconds for a sample. */
double latency_of(const struct latency_model *model, const struct graph *graph);

/* The widths that a group of so many channels may have, ascending, the last of which is all of them:
 * multiples of 16, an eighth of the channels apart at least; of less than 64 channels quarters; and below the
 * first of these its half and its quarter. */
int latency_levels(int width);
int latency_level(int width, int k);
/* The highest that is at most `kept`, or the lowest. */
int latency_level_at(int width, double kept);

#endif
