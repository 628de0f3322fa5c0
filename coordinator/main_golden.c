#include "coordinator/main_golden.h"

#include "worker/infer.h"

#include <stdlib.h>
#include <string.h>

/* Computes the outputs on one engine and appends how they compare. */
static status check_engine(const struct machine *machine, const struct model *model,
                           const struct golden *golden, double tolerance, struct golden_report *report) {
    const struct graph *graph = model->graph;
    struct golden *own = NULL;
    STATUS_TRY(golden_create(graph, golden->samples, &own));
    status error = infer(machine, model, golden->samples, golden->x, own->y);
    error = status_context(error, "engine %s", machine->engine->name);
    for (int i = 0; i < golden->noutputs && !error; i++) {
        const char *output = graph->layer[graph->node[graph->output[i].node].layer].name;
        struct golden_difference difference;
        error = golden_compare(own->y[i], golden->y[i], tolerance, &difference);
        error = status_context(error, "output \"%s\"", output);
        if (!error) error = golden_report_add(report, machine->engine->name, output, &difference);
    }
    golden_destroy(&own);
    return error;
}

/* Gives the model the shapes of the inputs. */
static status fit_inputs(struct model *model, const struct golden *golden) {
    struct shape *shape = calloc((size_t)golden->ninputs + 1, sizeof *shape);
    if (!shape) return status_no_memory("shapes", (size_t)golden->ninputs * sizeof *shape);
    for (int i = 0; i < golden->ninputs; i++) shape[i] = golden->x[i]->shape;
    status error = model_set_inputs(model, shape);
    free(shape);
    return error;
}

static status check_engines(const struct session *session, const struct golden_task *task,
                            const struct model *model, const struct golden *golden,
                            struct golden_report *report) {
    struct machine machine = {
        .world = session->world, .node = session->node, .log = session->log, .threads = session->threads};
    bool all = task->engine && !strcmp(task->engine, "all");
    if (!all) {
        STATUS_TRY(engine_find(task->engine, &machine.engine));
        return check_engine(&machine, model, golden, task->tolerance, report);
    }
    for (int i = 0; i < engine_count(); i++) {
        machine.engine = engine_at(i);
        STATUS_TRY(check_engine(&machine, model, golden, task->tolerance, report));
    }
    return SUCCESS;
}

status golden_check(const struct session *session, const struct golden_task *task,
                    struct golden_report *report) {
    struct model *model = NULL;
    struct golden *golden = NULL;
    *report = (struct golden_report){.golden = strdup(task->golden), .tolerance = task->tolerance};
    if (!report->golden) return status_no_memory("a path", strlen(task->golden));
    STATUS_TRY(model_read(task->model, task->keras, &model));
    status error = golden_read(task->golden, model->graph, &golden);
    if (!error) {
        report->samples = golden->samples;
        error = fit_inputs(model, golden);
        if (!error) error = check_engines(session, task, model, golden, report);
        error = status_context(error, "%s", task->golden);
    }
    golden_destroy(&golden);
    model_destroy(&model);
    return error;
}
