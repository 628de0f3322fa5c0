#include "worker/engines/openblas/cell.h"
#include "worker/engines/openblas/functions.h"

#include <string.h>

int cell_gates(enum cell cell) {
    return cell == CELL_LSTM ? 4 : cell == CELL_GRU ? 3 : 1;
}

/* ---- forward ---- */

static void lstm_values(const struct recurrent *r, int64_t u, const float *z, float *values) {
    function_values(&r->gate, z, 2 * u, values);
    function_values(&r->activation, z + 2 * u, u, values + 2 * u);
    function_values(&r->gate, z + 3 * u, u, values + 3 * u);
}

static void lstm_forward(const struct recurrent *r, int64_t u, const float *z, float *values,
                         float *restrict h, float *restrict c) {
    lstm_values(r, u, z, values);
    const float *restrict in = values, *restrict forget = values + u, *restrict candidate = values + 2 * u;
    const float *restrict out = values + 3 * u;
    for (int64_t i = 0; i < u; i++) c[i] = forget[i] * c[i] + in[i] * candidate[i];
    function_values(&r->activation, c, u, h);
    for (int64_t i = 0; i < u; i++) h[i] *= out[i];
}

static void gru_values(const struct recurrent *r, int64_t u, const float *z, const float *inner,
                       float *values) {
    float *restrict candidate = values + 2 * u;
    function_values(&r->gate, z, 2 * u, values);
    if (r->reset_after) {
        const float *restrict reset = values + u;
        for (int64_t i = 0; i < u; i++) candidate[i] = z[2 * u + i] + reset[i] * inner[i];
        function_values(&r->activation, candidate, u, candidate);
    } else {
        function_values(&r->activation, z + 2 * u, u, candidate);
    }
}

static void gru_forward(const struct recurrent *r, int64_t u, const float *z, const float *inner,
                        float *values, float *restrict h) {
    gru_values(r, u, z, inner, values);
    const float *restrict update = values, *restrict candidate = values + 2 * u;
    for (int64_t i = 0; i < u; i++) h[i] = update[i] * h[i] + (1 - update[i]) * candidate[i];
}

void cell_reset(const struct recurrent *r, int64_t u, const float *z, const float *restrict h,
                float *restrict reset) {
    function_values(&r->gate, z + u, u, reset);
    for (int64_t i = 0; i < u; i++) reset[i] *= h[i];
}

void cell_forward(const struct recurrent *r, int64_t u, const float *z, const float *inner, float *values,
                  float *h, float *c) {
    switch (r->cell) {
    case CELL_SIMPLE:
        function_values(&r->activation, z, u, h);
        break;
    case CELL_LSTM:
        lstm_forward(r, u, z, values, h, c);
        break;
    case CELL_GRU:
        gru_forward(r, u, z, inner, values, h);
        break;
    }
}

/* ---- backward ---- */

static void lstm_backward(const struct recurrent *r, int64_t u, const float *z,
                          const struct cell_states *before, float *values, float *restrict dh,
                          float *restrict dc, float *restrict dz) {
    lstm_values(r, u, z, values);
    const float *restrict in = values, *restrict forget = values + u, *restrict candidate = values + 2 * u;
    const float *restrict out = values + 3 * u, *restrict c = before->c;
    float *restrict through = dz + 3 * u; /* for a while: activation(c) */
    function_values(&r->activation, before->c_after, u, through);
    for (int64_t i = 0; i < u; i++) {
        float open = dh[i] * out[i];
        through[i] *= dh[i]; /* gradient of o */
        dh[i] = open;
    }
    function_slopes(&r->activation, before->c_after, dh, u, dh);
    for (int64_t i = 0; i < u; i++) {
        float d = dc[i] + dh[i];
        dz[i] = d * candidate[i];
        dz[u + i] = d * c[i];
        dz[2 * u + i] = d * in[i];
        dc[i] = d * forget[i];
        dh[i] = 0;
    }
    function_slopes(&r->gate, z, dz, 2 * u, dz);
    function_slopes(&r->activation, z + 2 * u, dz + 2 * u, u, dz + 2 * u);
    function_slopes(&r->gate, z + 3 * u, dz + 3 * u, u, dz + 3 * u);
}

static void gru_backward(const struct recurrent *r, int64_t u, const float *z, const float *inner,
                         const float *restrict h, float *values, float *restrict dh, float *restrict dz,
                         float *restrict dinner, float *restrict reset) {
    gru_values(r, u, z, inner, values);
    float *restrict update = values, *restrict gate = values + u, *restrict candidate = values + 2 * u;
    for (int64_t i = 0; i < u; i++) {
        dz[i] = dh[i] * (h[i] - candidate[i]);
        dz[2 * u + i] = dh[i] * (1 - update[i]);
        dh[i] *= update[i];
    }
    function_slopes(&r->gate, z, dz, u, dz);
    if (!r->reset_after) {
        function_slopes(&r->activation, z + 2 * u, dz + 2 * u, u, dz + 2 * u);
        for (int64_t i = 0; i < u; i++) reset[i] = gate[i] * h[i];
        return;
    }
    for (int64_t i = 0; i < u; i++) candidate[i] = z[2 * u + i] + gate[i] * inner[i];
    function_slopes(&r->activation, candidate, dz + 2 * u, u, dz + 2 * u);
    for (int64_t i = 0; i < u; i++) {
        dz[u + i] = dz[2 * u + i] * inner[i];
        dinner[i] = dz[2 * u + i] * gate[i];
    }
    function_slopes(&r->gate, z + u, dz + u, u, dz + u);
}

void cell_backward(const struct recurrent *r, int64_t u, const float *z, const float *inner,
                   const struct cell_states *before, float *values, float *dh, float *dc, float *dz,
                   float *dinner, float *reset) {
    switch (r->cell) {
    case CELL_SIMPLE:
        function_slopes(&r->activation, z, dh, u, dz);
        memset(dh, 0, (size_t)u * sizeof *dh);
        break;
    case CELL_LSTM:
        lstm_backward(r, u, z, before, values, dh, dc, dz);
        break;
    case CELL_GRU:
        gru_backward(r, u, z, inner, before->h, values, dh, dz, dinner, reset);
        break;
    }
}

void cell_backward_reset(const struct recurrent *r, int64_t u, const float *z, const float *restrict h,
                         const float *restrict dreset, float *restrict values, float *restrict dh,
                         float *dz) {
    function_values(&r->gate, z + u, u, values);
    for (int64_t i = 0; i < u; i++) {
        dh[i] += dreset[i] * values[i];
        dz[u + i] = dreset[i] * h[i];
    }
    function_slopes(&r->gate, z + u, dz + u, u, dz + u);
}
