/* The gates of recurrent layers, made apart from the engine: with the cells' formulas they give what the
 * engine gives, whichever way the layer runs, whatever the mask leaves out, from the states it begins with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "worker/nets.h"
#include "worker/recurrence.h"

enum { N = 5, T = 6, C = 3, U = 4 };

static struct comm *world;
static struct log *quiet;
static const struct engine *engine;

static const struct recurrent cells[] = {
    {.cell = CELL_SIMPLE, .activation = {.kind = ACTIVATION_TANH}, .gate = {.kind = ACTIVATION_SIGMOID}},
    {.cell = CELL_LSTM, .activation = {.kind = ACTIVATION_TANH}, .gate = {.kind = ACTIVATION_SIGMOID}},
    {.cell = CELL_GRU, .activation = {.kind = ACTIVATION_TANH}, .gate = {.kind = ACTIVATION_SIGMOID}},
    {.cell = CELL_GRU,
     .activation = {.kind = ACTIVATION_TANH},
     .gate = {.kind = ACTIVATION_SIGMOID},
     .reset_after = true},
};

/* A layer, its inputs and what the engine makes of them. */
struct example {
    struct opgraph *g;
    struct params *params;
    float *in[4], *h;
    struct recurrence r;
};

static void run(struct example *e) {
    struct exec_options options = {.batch = N, .mode = EXEC_INFER, .threads = 1};
    struct exec *exec = NULL;
    must(engine->compile(e->g, &options, &exec));
    must(exec_set_params(exec, e->params));
    must(exec_forward(exec, (const float *const *)e->in));
    int64_t count = net_count(e->g, e->g->output[0], N);
    e->h = malloc((size_t)count * sizeof *e->h);
    assert_non_null(e->h);
    memcpy(e->h, exec_output(exec, 0), (size_t)count * sizeof *e->h);
    exec_destroy(&exec);
}

static void open_example(const struct recurrent *how, bool bias, struct example *e) {
    *e = (struct example){.g = net_create()};
    int x = net_input(e->g, SHAPE(-1, T, C)), more[3], n = 0;
    for (int i = 0; i < how->states; i++) more[n++] = net_input(e->g, SHAPE(-1, U));
    if (how->mask) more[n++] = net_input(e->g, SHAPE(-1, T));
    int y = net_recurrent(e->g, x, U, how, more, bias);
    net_finish(e->g, 1, &y);
    e->params = net_params(e->g, 8);
    for (int i = 0; i < e->g->ninputs; i++)
        e->in[i] = random_floats(net_count(e->g, e->g->input[i], N), 20 + (uint64_t)i);
    float *mask = how->mask ? e->in[1 + how->states] : NULL;
    for (int i = 0; mask && i < N * T; i++) mask[i] = i / T == 1 ? 0 : (i * 5 + i / T) % 3 != 0;
    run(e);
    e->r = recurrence_of(e->g, e->params, &e->g->op[0], N);
    e->r.x = e->in[0];
    e->r.state = how->states ? e->in[1] : NULL;
    e->r.mask = mask;
    e->r.h = e->h;
}

static void close_example(struct example *e) {
    for (int i = 0; i < 4; i++) free(e->in[i]);
    free(e->h);
    params_destroy(&e->params);
    opgraph_destroy(&e->g);
}

static double sigmoid(double v) {
    return 1 / (1 + exp(-v));
}

/* Sums of all maps of the cell, gate by gate: z[map's gate][row][unit]; of the candidate of a GRU with
 * reset_after the recurrent part apart, as `inner`. */
struct sums {
    float *part[3];
    const struct gate_map *map;
    int n;
};

static struct sums sums_of(const struct example *e) {
    struct machine machine = {.world = world, .log = quiet, .engine = engine, .threads = 1};
    struct sums s = {.map = NULL};
    s.map = gate_maps(&e->r.op->u.recurrent, &s.n);
    for (int i = 0; i < s.n; i++) {
        float *states = NULL, *rows = NULL, *kernel = NULL, *bias = NULL;
        must(recurrence_states(&machine, &e->r, s.map[i].state == STATE_RESET, &states));
        must(recurrence_rows(&e->r, &s.map[i], states, U, NULL, U, &rows));
        must(recurrence_map(&e->r, &s.map[i], NULL, U, &kernel, &bias));
        must(recurrence_sums(&machine, &e->r, gate_map_columns(&s.map[i], C, U), s.map[i].gates * U, rows,
                             kernel, bias, &s.part[i]));
        free(states);
        free(rows);
        free(kernel);
        free(bias);
    }
    return s;
}

/* The next state of unit j, of the sums at this row, the state h before it and an LSTM's *c. */
static double next(const struct example *e, const struct sums *s, int row, int j, double h, double *c) {
    const float *z = s->part[0] + (int64_t)row * s->map[0].gates * U + j;
    switch (e->r.op->u.recurrent.cell) {
    case CELL_SIMPLE:
        return tanh(z[0]);
    case CELL_LSTM:
        *c = sigmoid(z[U]) * *c + sigmoid(z[0]) * tanh(z[2 * U]);
        return sigmoid(z[3 * U]) * tanh(*c);
    default:
        break;
    }
    double candidate = s->part[1][row * U + j], update = sigmoid(z[0]);
    if (s->n == 3) candidate += sigmoid(z[U]) * s->part[2][row * U + j];
    return update * h + (1 - update) * tanh(candidate);
}

static void check(const struct recurrent *how, bool bias) {
    struct example e;
    open_example(how, bias, &e);
    struct sums s = sums_of(&e);
    int states = how->states, width = (int)e.r.width;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < U; j++) {
            double h = states ? e.in[1][i * U + j] : 0, c = states == 2 ? e.in[2][i * U + j] : 0;
            for (int step = 0; step < T; step++) {
                int t = how->backwards ? T - 1 - step : step;
                if (e.r.mask && e.r.mask[i * T + t] == 0) continue;
                h = next(&e, &s, i * T + t, j, h, &c);
                assert_true(fabs(e.h[(i * T + step) * width + j] - h) < 1e-5);
            }
        }
    for (int i = 0; i < 3; i++) free(s.part[i]);
    close_example(&e);
}

static void test_sums_make_what_the_engine_makes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        for (int option = 0; option < 32; option++) {
            struct recurrent how = cells[i];
            if (option & 1) how.states = how.cell == CELL_LSTM ? 2 : 1;
            how.mask = option & 2;
            how.backwards = option & 4;
            how.cell_state = option & 8;
            if (how.cell_state && how.cell != CELL_LSTM) continue;
            check(&how, option & 16);
        }
}

/* Of the kept units only: columns of the whole map. */
static void test_kept_units(void **state) {
    (void)state;
    static const int64_t unit[] = {1, 3};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        struct example e;
        int n;
        open_example(&cells[i], true, &e);
        const struct gate_map *map = gate_maps(&cells[i], &n);
        for (int k = 0; k < n; k++) {
            float *all[2] = {NULL}, *few[2] = {NULL};
            int64_t rows = gate_map_columns(&map[k], C, U);
            must(recurrence_map(&e.r, &map[k], NULL, U, &all[0], &all[1]));
            must(recurrence_map(&e.r, &map[k], unit, 2, &few[0], &few[1]));
            for (int64_t r = 0; r < rows; r++)
                for (int g = 0; g < map[k].gates; g++)
                    for (int j = 0; j < 2; j++) {
                        int64_t from = g * U + unit[j], to = g * 2 + j;
                        assert_true(few[0][r * map[k].gates * 2 + to] == all[0][r * map[k].gates * U + from]);
                        assert_true(few[1][to] == all[1][from]);
                    }
            for (int b = 0; b < 2; b++) {
                free(all[b]);
                free(few[b]);
            }
        }
        close_example(&e);
    }
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = log_create(0, LOG_ERROR, &quiet);
    if (!error) error = engine_find("openblas", &engine);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_make_what_the_engine_makes),
        cmocka_unit_test(test_kept_units),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_stop(&world);
    return failed;
}
