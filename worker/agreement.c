#include "worker/agreement.h"

#define BATCH 256

/* Sums of this rank: samples with the same largest output, squares of differences, of the source's outputs.
 */
struct sums {
    double same, difference, size;
};

static int64_t largest(const float *x, int64_t n) {
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

static void add(struct sums *sums, const float *source, const float *target, int64_t samples, int64_t count) {
    for (int64_t s = 0; s < samples; s++, source += count, target += count) {
        sums->same += largest(source, count) == largest(target, count);
        for (int64_t i = 0; i < count; i++) {
            sums->difference += ((double)target[i] - source[i]) * ((double)target[i] - source[i]);
            sums->size += (double)source[i] * source[i];
        }
    }
}

static status measure_share(const struct machine *machine, const struct computation *source,
                            const struct computation *target, struct dataset *dataset, enum dataset_part part,
                            struct sums *sums) {
    int64_t size = dataset_size(dataset, part),
            count = shape_sample_count(&target->graph->value[target->graph->output[0]]);
    int64_t batch = size < BATCH ? size : BATCH, nblocks = (size + batch - 1) / batch, index[BATCH];
    struct forward *a = NULL, *b = NULL;
    status error = forward_create(machine, source->graph, source->params, batch, &a);
    if (!error) error = forward_create(machine, target->graph, target->params, batch, &b);
    for (int64_t block = comm_rank(machine->world); block < nblocks && !error;
         block += comm_size(machine->world)) {
        int64_t n = size - block * batch < batch ? size - block * batch : batch;
        for (int64_t i = 0; i < n; i++) index[i] = block * batch + i;
        error = forward_samples(a, dataset, part, index, n, NULL);
        if (!error) error = forward_samples(b, dataset, part, index, n, NULL);
        if (!error) add(sums, forward_output(a, 0), forward_output(b, 0), n, count);
    }
    forward_destroy(&a);
    forward_destroy(&b);
    return error;
}

status agreement_measure(const struct machine *machine, const struct computation *source,
                         const struct computation *target, struct dataset *dataset, enum dataset_part part,
                         struct agreement *agreement) {
    struct sums sums = {0};
    int64_t n = dataset_size(dataset, part);
    status error = n > 0 ? measure_share(machine, source, target, dataset, part, &sums) : SUCCESS;
    STATUS_TRY(comm_agree(machine->world, error));
    double all[3] = {sums.same, sums.difference, sums.size};
    STATUS_TRY(comm_sum_f64(machine->world, all, 3));
    *agreement = (struct agreement){.samples = n, .same = (int64_t)all[0]};
    if (n > 0) agreement->share = all[0] / (double)n;
    if (all[2] > 0) agreement->error = all[1] / all[2];
    return SUCCESS;
}
