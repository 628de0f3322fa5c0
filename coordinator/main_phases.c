/* The phases of a migration with the models in memory, and what follows its refit. */
#include "coordinator/main_phases.h"

#include "coordinator/main_fine_tune.h"
#include "coordinator/main_memory.h"
#include "io/quantization.h"
#include "worker/agreement.h"
#include "worker/evaluate.h"
#include "worker/finish.h"
#include "worker/ranges.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY_SECONDS 0.5

/* ---- evaluate ---- */

static status accuracy_of(struct migration_run *m, const struct opgraph *logits, struct params *params,
                          const char *what, double *accuracy) {
    struct evaluation e = {0};
    *accuracy = NAN;
    if (!dataset_classes(m->job.data)) return SUCCESS; /* without labels */
    STATUS_TRY(evaluate(&m->job.machine, logits, params, m->job.data, DATASET_TEST, &e));
    if (e.samples) *accuracy = e.accuracy;
    if (e.samples)
        log_line(m->job.session->log, LOG_INFO, "%s: test accuracy %.2f %% (%lld of %lld)", what,
                 100 * e.accuracy, (long long)e.correct, (long long)e.samples);
    LOG_EVENT(m->job.session->log, "test", {"model", 0, what}, {"accuracy", e.accuracy, NULL},
              {"loss", e.loss, NULL});
    return SUCCESS;
}

/* How often the target gives the class that the source gives. */
static status agreement_of(struct migration_run *m, const char *what, double *share) {
    const struct computation source = {m->source_logits, m->source->params},
                             target = {m->target_logits, m->target->params};
    struct agreement a = {0};
    *share = NAN;
    if (migration_is_new_task(m) ||
        shape_sample_count(&m->target_logits->value[m->target_logits->output[0]]) < 2)
        return SUCCESS;
    STATUS_TRY(agreement_measure(&m->job.machine, &source, &target, m->job.data, DATASET_TEST, &a));
    if (!a.samples) return SUCCESS;
    *share = a.share;
    log_line(m->job.session->log, LOG_INFO,
             "%s: the source's class for %.2f %% of the test samples (%lld of %lld)", what, 100 * a.share,
             (long long)a.same, (long long)a.samples);
    LOG_EVENT(m->job.session->log, "agreement", {"model", 0, what}, {"share", a.share, NULL},
              {"error", a.error, NULL});
    return SUCCESS;
}

/* ---- report and publish ---- */

static status latency_of(struct migration_run *m, const struct model *model, double *latency_s) {
    const struct comm *world = m->job.session->world;
    status error = SUCCESS;
    *latency_s = 0;
    if (comm_is_root(world))
        error = measure_latency(&m->job.machine, model->ops, model->params, 1, LATENCY_SECONDS, latency_s);
    return comm_agree(world, error);
}

/* Timings differ from run to run, the last one too from those that chose the widths. A program that was given
 * has the configuration's limit. */
static void report_latency(struct migration_run *m) {
    const struct target_config *c = &m->job.config->target;
    double ratio_s = c->latency_ratio * m->report.source.latency_s;
    if (!(m->latency_limit_s > 0)) {
        m->latency_limit_s = c->latency_ms / 1e3;
        if (ratio_s > 0 && !(m->latency_limit_s > 0 && m->latency_limit_s < ratio_s))
            m->latency_limit_s = ratio_s;
    }
    if (!(m->latency_limit_s > 0) || !comm_is_root(m->job.session->world)) return;
    bool within = migration_is_fast_enough(m);
    log_line(m->job.session->log, within ? LOG_INFO : LOG_WARN,
             "latency of the target: %.4g ms, %s the %.4g ms that are allowed",
             1e3 * m->report.target.latency_s, within ? "within" : "above", 1e3 * m->latency_limit_s);
}

/* What the target says of the precision at which it is to be run, from what its kernels are rounded to. */
static enum precision precision_of(const struct migration_run *m) {
    const char *rounded = m->job.config->target.precision;
    if (!rounded) return PRECISION_FLOAT32;
    return !strcmp(rounded, "bfloat16")   ? PRECISION_BFLOAT16
           : !strncmp(rounded, "int8", 4) ? PRECISION_INT8
                                          : PRECISION_FLOAT32;
}

/* Measures the accuracy of the target as it is to be run. */
static status accuracy_rounded(struct migration_run *m, const struct quantization *q) {
    char what[64];
    double accuracy;
    struct machine *machine = &m->job.machine;
    if (q->precision == PRECISION_FLOAT32 || !machine->engine->has(q->precision)) return SUCCESS;
    snprintf(what, sizeof what, "target, run in %s", precision_name(q->precision));
    machine->precision = q->precision;
    machine->range = q->range;
    status error = accuracy_of(m, m->target_logits, m->target->params, what, &accuracy);
    machine->precision = PRECISION_FLOAT32;
    machine->range = NULL;
    return error;
}

static status note_precision(struct migration_run *m) {
    const struct comm *world = m->job.session->world;
    const struct opgraph *ops = m->target->ops;
    struct quantization q = {.precision = precision_of(m)};
    if (q.precision == PRECISION_INT8) {
        if (!m->calibration || !m->calibration->total) {
            if (comm_is_root(world))
                log_line(
                    m->job.session->log, LOG_WARN,
                    "without calibration samples it is not known what the target's values lie between, and "
                    "it is run in float32; \"godwit calibrate\" measures it");
            return SUCCESS;
        }
        STATUS_TRY(comm_agree(
            world, memory_alloc("ranges", (size_t)ops->nvalues + 1, sizeof *q.range, (void **)&q.range)));
    }
    status error = SUCCESS;
    if (q.range)
        error = ranges_measure(&m->job.machine, ops, m->target->params, m->calibration->n, m->calibration->x,
                               q.range);
    if (!error) error = comm_agree(world, quantization_write(m->target, &q));
    if (!error) error = accuracy_rounded(m, &q);
    quantization_clear(&q);
    return error;
}

static status publish(struct migration_run *m) {
    char *preprocessing = NULL;
    STATUS_TRY(comm_agree(m->job.session->world, dataset_preprocessing(m->job.data, &preprocessing)));
    free(m->target->preprocessing);
    m->target->preprocessing = preprocessing;
    STATUS_TRY(note_precision(m));
    return migration_publish(m, &(struct job_result){.model = m->target});
}

/* What there is of the target before training, and of the source. */
static status evaluate_refitted(struct migration_run *m) {
    struct report *r = &m->report;
    STATUS_TRY(migration_describe(m));
    if (m->ground) {
        r->source.latency_s = m->ground->report.source.latency_s;
        if (!migration_is_new_task(m)) r->source.accuracy = m->ground->report.source.accuracy;
    } else if (!migration_is_new_task(m))
        STATUS_TRY(accuracy_of(m, m->source_logits, m->source->params, "source", &r->source.accuracy));
    STATUS_TRY(accuracy_of(m, m->target_logits, m->target->params, "target after refit", &r->refit_accuracy));
    STATUS_TRY(agreement_of(m, "target after refit", &r->refit_agreement));
    r->target.accuracy = r->refit_accuracy;
    r->agreement = r->refit_agreement;
    return SUCCESS;
}

status memory_complete(struct migration_run *m) {
    if (m->followed) STATUS_TRY(memory_keep_base(m));
    migration_phase(m, "evaluate");
    STATUS_TRY(evaluate_refitted(m));
    bool trains = config_trains(m->job.config), finishes = plan_finishes(m->compiled->plan);
    STATUS_TRY(migration_check_stop(m));
    if (trains) {
        migration_phase(m, "fine-tune");
        STATUS_TRY(fine_tune(m));
    }
    if (finishes) {
        migration_phase(m, "finish");
        const struct finish task = {m->compiled->plan, m->target->ops, m->target->params, m->calibration};
        STATUS_TRY(finish(&m->job.machine, &task));
    }
    if (trains || finishes) {
        migration_phase(m, "final evaluation");
        STATUS_TRY(accuracy_of(m, m->target_logits, m->target->params, "target", &m->report.target.accuracy));
        STATUS_TRY(agreement_of(m, "target", &m->report.agreement));
    }
    if (trains) fine_tune_warn(m);
    return SUCCESS;
}

status memory_deliver(struct migration_run *m) {
    if (!m->ground) STATUS_TRY(latency_of(m, m->source, &m->report.source.latency_s));
    STATUS_TRY(latency_of(m, m->target, &m->report.target.latency_s));
    report_latency(m);
    return publish(m);
}

status memory_measure_source(struct migration_run *m, bool labelled) {
    m->report.source.accuracy = NAN;
    if (labelled)
        STATUS_TRY(accuracy_of(m, m->source_logits, m->source->params, "source", &m->report.source.accuracy));
    STATUS_TRY(latency_of(m, m->source, &m->report.source.latency_s));
    double *latency_s = &m->report.source.latency_s; /* for all groups' first ranks */
    return comm_bcast(m->job.session->world, 0, latency_s, sizeof *latency_s);
}

status memory_phases(struct migration_run *m) {
    const struct config *c = m->job.config;
    migration_phase(m, "compile");
    STATUS_TRY(memory_compile(m));
    if (m->ground) STATUS_TRY(job_check_data(&m->job, m->target));
    else if (!m->job.data) STATUS_TRY(job_open_data(&m->job, m->target));
    migration_phase(m, "read source");
    STATUS_TRY(memory_read_source(m));
    if (c->target.blocks_removed > 0 && !m->plan_path) {
        migration_phase(m, "residual blocks");
        STATUS_TRY(memory_leave_out_blocks(m));
    }
    if (c->target.rank_energy > 0 && !m->plan_path) {
        migration_phase(m, "ranks");
        STATUS_TRY(memory_choose_ranks(m));
    }
    STATUS_TRY(memory_read_uncut(m));
    STATUS_TRY(migration_check_stop(m));
    migration_phase(m, "select");
    STATUS_TRY(memory_choose_channels(m));
    migration_phase(m, "migrate");
    STATUS_TRY(memory_migrate(m));
    STATUS_TRY(migration_check_stop(m));
    if (c->refit.samples > 0) {
        migration_phase(m, "refit");
        STATUS_TRY(memory_refit(m, NULL));
    }
    return memory_complete(m);
}
