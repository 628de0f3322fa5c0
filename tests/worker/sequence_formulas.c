#include "sequence_formulas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* sum_k v[k] * m[k][column] */
static double dot(const double *v, const float *m, int n, int width, int column) {
    double sum = 0;
    for (int k = 0; k < n; k++) sum += v[k] * (double)m[k * width + column];
    return sum;
}

static double bias_at(const struct recurrence *r, int i) {
    return r->bias ? (double)r->bias[i] : 0;
}

/* One step of unit j: from h and c (before) to the new ones. */
static void step(const struct recurrence *r, const double *x, const double *h, const double *c, int j,
                 double *new_h, double *new_c) {
    int u = r->units;
    if (r->cell == RECURRENCE_SIMPLE) {
        *new_h = tanh(dot(x, r->kernel, r->features, u, j) + dot(h, r->recurrent, u, u, j) + bias_at(r, j));
        return;
    }
    if (r->cell == RECURRENCE_LSTM) {
        double gate[4];
        for (int g = 0; g < 4; g++)
            gate[g] = dot(x, r->kernel, r->features, 4 * u, g * u + j) +
                      dot(h, r->recurrent, u, 4 * u, g * u + j) + bias_at(r, g * u + j);
        *new_c = sigmoid(gate[1]) * c[j] + sigmoid(gate[0]) * tanh(gate[2]);
        *new_h = sigmoid(gate[3]) * tanh(*new_c);
        return;
    }
    /* The reset gates of all units, as the candidate of one needs them. */
    double *reset = malloc((size_t)u * sizeof *reset), update = 0, candidate;
    double *kept = malloc((size_t)u * sizeof *kept);
    int recurrent_bias = r->reset_after ? 3 * u : -1;
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < u; i++) {
            int column = g * u + i;
            double sum = dot(x, r->kernel, r->features, 3 * u, column) +
                         dot(h, r->recurrent, u, 3 * u, column) + bias_at(r, column) +
                         (recurrent_bias > 0 ? bias_at(r, recurrent_bias + column) : 0);
            if (g == 1) reset[i] = sigmoid(sum);
            else if (i == j) update = sigmoid(sum);
        }
    candidate = dot(x, r->kernel, r->features, 3 * u, 2 * u + j) + bias_at(r, 2 * u + j);
    if (r->reset_after) {
        candidate += reset[j] * (dot(h, r->recurrent, u, 3 * u, 2 * u + j) + bias_at(r, 5 * u + j));
    } else {
        for (int i = 0; i < u; i++) kept[i] = reset[i] * h[i];
        candidate += dot(kept, r->recurrent, u, 3 * u, 2 * u + j);
    }
    *new_h = update * h[j] + (1 - update) * tanh(candidate);
    free(reset);
    free(kept);
}

void recurrence_run(const struct recurrence *r, const double *x, const double *mask, double *h, double *c,
                    double *out) {
    int u = r->units;
    double *new_h = malloc((size_t)u * sizeof *new_h), *new_c = calloc((size_t)u, sizeof *new_c);
    for (int t = 0; t < r->steps; t++) {
        int at = r->backwards ? r->steps - 1 - t : t;
        for (int j = 0; j < u; j++) step(r, x + at * r->features, h, c, j, &new_h[j], &new_c[j]);
        bool counts = !mask || mask[at] != 0;
        for (int j = 0; j < u; j++) {
            if (counts) {
                h[j] = new_h[j];
                if (r->cell == RECURRENCE_LSTM) c[j] = new_c[j];
            }
            out[t * u + j] = counts ? new_h[j] : t ? out[(t - 1) * u + j] : 0;
        }
    }
    free(new_h);
    free(new_c);
}

void attention_weigh(const struct attention *a, int row, double *scores) {
    double largest = -INFINITY, sum = 0;
    for (int s = 0; s < a->keys; s++) {
        bool sees = (!a->causal || s <= row) && (!a->key_mask || a->key_mask[s] != 0) &&
                    (!a->query_mask || a->query_mask[row] != 0);
        if (!sees) scores[s] = -1e9;
        if (scores[s] > largest) largest = scores[s];
    }
    for (int s = 0; s < a->keys; s++) sum += scores[s] = exp(scores[s] - largest);
    for (int s = 0; s < a->keys; s++) scores[s] /= sum;
}

/* [n][features] by (features, heads * size). */
static double *project(const double *x, int n, int features, const float *kernel, const float *bias,
                       int width) {
    double *y = malloc((size_t)(n * width) * sizeof *y);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < width; j++)
            y[i * width + j] = dot(x + i * features, kernel, features, width, j) + (double)bias[j];
    return y;
}

void heads_run(const struct heads_formula *f, const double *query, const double *key, const double *value,
               double *out) {
    const struct attention *a = &f->of;
    int qw = f->heads * f->size, kw = f->key_heads * f->size, vw = f->key_heads * f->value_size;
    int joined_width = f->heads * f->value_size;
    double *q = project(query, a->queries, f->query_features, f->param[0], f->param[1], qw);
    double *k = project(key, a->keys, f->key_features, f->param[2], f->param[3], kw);
    double *v = project(value, a->keys, f->value_features, f->param[4], f->param[5], vw);
    double *joined = calloc((size_t)(a->queries * joined_width), sizeof *joined);
    double *scores = malloc((size_t)a->keys * sizeof *scores);
    for (int h = 0; h < f->heads; h++) {
        int of = h / (f->heads / f->key_heads);
        for (int t = 0; t < a->queries; t++) {
            for (int s = 0; s < a->keys; s++) {
                scores[s] = 0;
                for (int i = 0; i < f->size; i++)
                    scores[s] += q[t * qw + h * f->size + i] * k[s * kw + of * f->size + i];
                scores[s] /= sqrt((double)f->size);
            }
            attention_weigh(a, t, scores);
            for (int s = 0; s < a->keys; s++)
                for (int i = 0; i < f->value_size; i++)
                    joined[t * joined_width + h * f->value_size + i] +=
                        scores[s] * v[s * vw + of * f->value_size + i];
        }
    }
    double *made = project(joined, a->queries, joined_width, f->param[6], f->param[7], f->out);
    memcpy(out, made, (size_t)(a->queries * f->out) * sizeof *out);
    free(made);
    free(scores);
    free(joined);
    free(v);
    free(k);
    free(q);
}
