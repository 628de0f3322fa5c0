/* One pass of a refit over the layers: what refit.c, refit_layer.c and refit_descent.c share. Internal to
 * worker/refit*.c. */
#ifndef GODWIT_WORKER_REFIT_PASS_H
#define GODWIT_WORKER_REFIT_PASS_H

#include "worker/activations.h"
#include "worker/fit.h"
#include "worker/refit.h"

#define FIT_ROWS 65536 /* of patches that a fit is made from, or more if the patches are large */

struct pass {
    const struct machine *machine;
    const struct refit *r;
    int64_t number;                      /* 0: the first, towards each layer's own outputs */
    struct activations *source, *target; /* at the operation that is fitted */
};

/* ---- of the target's operations ---- */

/* Does the source have what this operation gives, channel by channel? Not if it has projections of them. */
bool refit_known(const struct refit *r, const struct op *op);
/* The statement that refits this operation's kernel, or NULL. */
struct plan_statement *refit_statement(const struct refit *r, const struct op *op);
/* The operation that alone reads this one's output, with no other between, and gives what the source has:
 * then this one, whose output the source does not have, is the first of two factors, or the depthwise part of
 * a separable convolution. -1: there is none. */
int refit_second(const struct refit *r, const struct op *op);
/* The source's output channels that the target's operation has; NULL with SUCCESS: all of them. Owned by the
 * caller.
 */
status refit_columns(const struct refit *r, const struct op *op, const struct plan_statement *s,
                     int64_t **column) STATUS_MUST_USE;
/* The addition that alone reads the operation's output and whose other operand comes before the operation; or
 * NULL. There the sum is what is to be right. */
const struct op *refit_sum(const struct opgraph *g, int index, int *other);
int64_t refit_width(const struct opgraph *g, int value); /* of a value's last axis */

/* The calls, on these calibration samples. */
struct fit_data refit_data(const struct calibration *calibration, int ncalls, const struct fit_call *call,
                           const int64_t *column);

/* ---- one operation; collective ---- */

/* Fits all calls of its layer towards the source's outputs. */
status refit_fit(const struct pass *p, int index, struct plan_statement *s) STATUS_MUST_USE;
/* The first of two factors, or the depthwise part of a separable convolution, towards the source's outputs of
 * the second. */
status refit_factor(const struct pass *p, int index, int second, struct plan_statement *s) STATUS_MUST_USE;
/* All calls of a recurrent layer towards the source's gates, and then its outputs. */
status refit_recurrent(const struct pass *p, int index, struct plan_statement *s) STATUS_MUST_USE;
/* Towards the source's outputs of the next layers. False in *possible: nothing comes after the layer, or it
 * cannot be differentiated. */
status refit_descend(const struct pass *p, int index, struct plan_statement *s,
                     bool *possible) STATUS_MUST_USE;
void refit_report(const struct pass *p, const struct plan_statement *s, const char *what, double before,
                  double after);

#endif
