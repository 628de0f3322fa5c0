/* The phases of a migration with the models in memory, and what follows its refit. */
#include "coordinator/main_phases.h"

#include "coordinator/main_fine_tune.h"
#include "coordinator/main_memory.h"
#include "worker/agreement.h"
#include "worker/evaluate.h"
#include "worker/finish.h"

#include <math.h>
#include <stdlib.h>

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

static status publish(struct migration_run *m) {
    char *preprocessing = NULL;
    STATUS_TRY(comm_agree(m->job.session->world, dataset_preprocessing(m->job.data, &preprocessing)));
    free(m->target->preprocessing);
    m->target->preprocessing = preprocessing;
    return migration_publish(m, &(struct job_result){.model = m->target});
}

/* What there is of the target before training, and of the source. */
static status evaluate_refitted(struct migration_run *m) {
    struct report *r = &m->report;
    STATUS_TRY(migration_describe(m));
    if (!migration_is_new_task(m))
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
    bool trains = m->job.config->training.epochs != 0, finishes = plan_finishes(m->compiled->plan);
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
    STATUS_TRY(latency_of(m, m->source, &m->report.source.latency_s));
    STATUS_TRY(latency_of(m, m->target, &m->report.target.latency_s));
    report_latency(m);
    return publish(m);
}

status memory_phases(struct migration_run *m) {
    const struct config *c = m->job.config;
    migration_phase(m, "compile");
    STATUS_TRY(memory_compile(m));
    if (!m->job.data) STATUS_TRY(job_open_data(&m->job, m->target));
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
    migration_phase(m, "select");
    STATUS_TRY(memory_choose_channels(m));
    migration_phase(m, "migrate");
    STATUS_TRY(memory_migrate(m));
    if (c->refit.samples > 0) {
        migration_phase(m, "refit");
        STATUS_TRY(memory_refit(m, NULL));
    }
    return memory_complete(m);
}
