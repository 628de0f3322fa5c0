#include "io/config_field.h"

#include <stdio.h>
#include <string.h>

#define LARGEST_INT 9007199254740992.0 /* 2^53: the largest for which JSON numbers are exact */

#define TEXT(s, m, initial, allowed, about)                                                                  \
    {                                                                                                        \
        .key = #m, .type = FIELD_TEXT, .offset = offsetof(struct s, m), .text = initial, .choices = allowed, \
        .meaning = about                                                                                     \
    }
#define NAME(s, m, initial, about)                                                                           \
    { .key = #m, .type = FIELD_NAME, .offset = offsetof(struct s, m), .text = initial, .meaning = about }
#define TEXTS(s, m, about)                                                                                   \
    {                                                                                                        \
        .key = #m, .type = FIELD_TEXTS, .offset = offsetof(struct s, m),                                     \
        .count_offset = offsetof(struct s, n##m), .meaning = about                                           \
    }
#define INT(s, m, initial, least, most, about)                                                               \
    {                                                                                                        \
        .key = #m, .type = FIELD_INT, .offset = offsetof(struct s, m), .number = initial, .min = least,      \
        .max = most, .meaning = about                                                                        \
    }
#define REAL(s, m, initial, least, most, ends, about)                                                        \
    {                                                                                                        \
        .key = #m, .type = FIELD_REAL, .offset = offsetof(struct s, m), .number = initial, .min = least,     \
        .max = most, .open = ends, .meaning = about                                                          \
    }
#define BOOL(s, m, initial, about)                                                                           \
    { .key = #m, .type = FIELD_BOOL, .offset = offsetof(struct s, m), .number = initial, .meaning = about }
#define OBJECT(s, m, about)                                                                                  \
    {                                                                                                        \
        .key = #m, .type = FIELD_OBJECT, .offset = offsetof(struct s, m), .table = &m##_table,               \
        .meaning = about                                                                                     \
    }
#define OBJECT_OR_TEXT(s, m, key_of_text, about)                                                             \
    {                                                                                                        \
        .key = #m, .type = FIELD_OBJECT, .offset = offsetof(struct s, m), .table = &m##_table,               \
        .plain = key_of_text, .meaning = about                                                               \
    }
#define NAMED(s, m, other, record, about)                                                                    \
    {                                                                                                        \
        .key = #m, .type = FIELD_NAMED, .offset = offsetof(struct s, m),                                     \
        .count_offset = offsetof(struct s, n##m), .table = &other##_table, .size = sizeof(struct record),    \
        .meaning = about                                                                                     \
    }
#define TABLE(name, s)                                                                                       \
    static const struct field_table name##_table = {name##_fields,                                           \
                                                    (int)(sizeof name##_fields / sizeof *name##_fields)}

static const struct field source_fields[] = {
    TEXT(source_config, model, "", NULL,
         "migrate: the source model, a file, folder or name[:version]; short: \"source\": \"x.h5\""),
    TEXT(source_config, topology, "", NULL,
         "JSON file or model with the topology of a source that has weights only"),
    TEXT(source_config, aliases, "", NULL,
         "JSON file: which known layers custom classes stand for (train: those of the topology)"),
};
TABLE(source, source_config);

static const struct field data_fields[] = {
    TEXT(data_config, format, "auto", "auto|idx|hdf5|folder",
         "format of the data set; auto: by what is at the path"),
    TEXT(data_config, path, "", NULL,
         "folder or file of the data set; not needed without refit and training"),
    TEXT(data_config, x_train, "", NULL,
         "training samples: data set in HDF5, file of IDX; empty: the usual name"),
    TEXT(data_config, y_train, "", NULL, "training labels, likewise"),
    TEXT(data_config, x_test, "", NULL, "test samples, likewise"),
    TEXT(data_config, y_test, "", NULL, "test labels, likewise"),
    TEXTS(data_config, labels, "names of the classes, stored with the model"),
    REAL(data_config, scale, 0, -1e9, 1e9, 0,
         "samples are x * scale + offset; 0: 1/255 for bytes, 1 for numbers"),
    REAL(data_config, offset, 0, -1e9, 1e9, 0, "see scale"),
    REAL(data_config, holdout, -1, -1, 1, OPEN_MAX,
         "fraction of the training samples held out, chosen by the seed; -1: a twentieth, of small sets a "
         "tenth, if anything is automatic, else none"),
    TEXT(
        data_config, augment, "auto", "auto|given",
        "auto: training finds out whether flips and shifts help, if neither is set; given: as flip and shift "
        "say"),
    BOOL(data_config, flip, false, "augmentation: mirror left-right with probability 1/2"),
    INT(data_config, shift, 0, 0, 1024, "augmentation: shift by up to so many pixels, zeros come in"),
    BOOL(data_config, in_memory, true, "keep one decoded copy in the memory of a node"),
};
TABLE(data, data_config);

static const struct field target_fields[] = {
    TEXT(target_config, topology, "", NULL,
         "the target's whole graph, a JSON file or a model: its layers are matched with the source's by name "
         "and place; nothing but precision goes with it"),
    REAL(target_config, width, 0.5, 0, 1, OPEN_MIN, "factor on the number of channels of each layer"),
    TEXTS(target_config, widths, "factors for some layers, by name: [\"conv_3 0.25\"]"),
    REAL(target_config, params, 0, 0, 1e15, 0,
         "most parameters, instead of width: widths are allotted by what they cost in error; up to 1: a "
         "fraction of "
         "the source's; 0: no limit"),
    REAL(target_config, flops, 0, 0, 1e18, 0, "most operations of a sample, likewise"),
    REAL(target_config, latency_ms, 0, 0, 1e9, 0,
         "most milliseconds for one sample, measured with the run's engine and threads of a rank, likewise; "
         "0: no "
         "limit"),
    REAL(target_config, latency_ratio, 0, 0, 1, 0,
         "most time for one sample as a fraction of the source's, likewise; 0: no limit"),
    TEXTS(target_config, depth, "names of the Adds whose residual blocks are left out"),
    REAL(target_config, blocks_removed, 0, 0, 1e6, 0,
         "how many more residual blocks are left out: those without which the outputs change least; below 1: "
         "a "
         "fraction of all; 0: none"),
    TEXTS(target_config, replace,
          "convolutions that become separable ones: [\"conv_3 SeparableConv2D\"], with a depth multiplier "
          "[\"conv_3 SeparableConv2D 2\"], all for which it is worth it [\"* SeparableConv2D\"]"),
    REAL(target_config, rank, 1, 0, 1, OPEN_MIN,
         "factor on the rank of kernels of Dense and convolutions, which become products of two; 1: they "
         "stay"),
    REAL(target_config, rank_energy, 0, 0, 1, OPEN_MAX,
         "instead of rank: ranks so large that each layer keeps this part of its outputs' variance, measured "
         "on the calibration samples; 0: not so"),
    TEXTS(target_config, ranks,
          "ranks, or factors below 1, for some layers, by name: [\"conv_3 16\", \"conv_4 0.25\"]"),
    INT(target_config, head, 0, 0, 16777216,
        "classes of another task: the last layer starts anew and learns from labels; 0: the source's"),
    TEXT(target_config, precision, "float32", "float32|bfloat16|int8|int8_affine|int8_gptq|int4|int4_gptq",
         "what kernels are rounded to: float32 is not, int8 and int4 have a scale for each output channel, "
         "int8_affine a zero point too; "
         "gptq: "
         "so that the layers' outputs change least, on the calibration samples"),
};
TABLE(target, target_config);

static const struct field choose_fields[] = {
    TEXT(choose_config, by, "auto", "auto|accuracy|params|flops|latency",
         "what the chosen target is best in; auto: accuracy, or params if accuracy is the only limit, or "
         "nothing is chosen if there is no limit"),
    REAL(choose_config, params, 0, 0, 1e15, 0,
         "most parameters; up to 1: a fraction of the source's; 0: no limit"),
    REAL(choose_config, flops, 0, 0, 1e18, 0, "most operations of a sample, likewise"),
    REAL(choose_config, latency_ms, 0, 0, 1e9, 0, "most milliseconds for one sample; 0: no limit"),
    REAL(choose_config, latency_ratio, 0, 0, 1, 0,
         "most time for one sample as a fraction of the source's; 0: no limit"),
    REAL(choose_config, accuracy, 0, 0, 1, 0,
         "least test accuracy (without labels: share of the samples with the source's class); 0: no limit"),
};
TABLE(choose, choose_config);

static const struct field migration_fields[] = {
    TEXT(migration_config, mode, "dynamic", "dynamic|static",
         "dynamic: chunk by chunk into the target's file, gone on with if it was killed; static: in memory"),
    REAL(migration_config, chunk_mib, 8, 1e-5, 65536, 0,
         "dynamic: most MiB of a chunk, but a row of a tensor at least"),
};
TABLE(migration, migration_config);

static const struct field refit_fields[] = {
    INT(refit_config, samples, 4096, 0, 1e9, "calibration samples, without labels; 0: no refit"),
    REAL(refit_config, ridge, 0, 0, 1e3, 0,
         "regularisation, relative to the mean diagonal of the Gram matrix; 0: for each layer the best of a "
         "few on held-out samples"),
    INT(refit_config, relu_rounds, 2, 0, 100,
        "rounds that mind the ReLU or softmax after a layer; 0: plain least squares"),
    INT(refit_config, sweeps, 1, 0, 100,
        "passes over the layers after the first, in which each is fitted towards the next layer's outputs"),
    TEXT(refit_config, select, "next_layer", "next_layer|norm|first",
         "which channels are kept: those worth most to the next layer, of largest norm, the first"),
};
TABLE(refit, refit_config);

static const struct field schedule_fields[] = {
    TEXT(schedule_config, kind, "cosine", "constant|cosine|one_cycle", "how the learning rate goes"),
    REAL(schedule_config, rate, 0, 0, 1e3, 0, "largest learning rate; 0: found by a range test and trials"),
    REAL(schedule_config, warmup, 0.05, 0, 1, 0, "fraction of the steps in which the rate rises from 0"),
    REAL(schedule_config, final, 0.01, 0, 1, 0, "last rate as a fraction of the largest (cosine, one_cycle)"),
};
TABLE(schedule, schedule_config);

static const struct field optimizer_fields[] = {
    TEXT(optimizer_config, kind, "adamw", "sgd|adamw", "how parameters follow their gradients"),
    REAL(optimizer_config, momentum, 0.9, 0, 1, OPEN_MAX, "sgd: part of the last step that is kept"),
    BOOL(optimizer_config, nesterov, true, "sgd: Nesterov's form of momentum"),
    REAL(optimizer_config, beta1, 0.9, 0, 1, OPEN_MAX, "adamw: decay of the gradient's mean"),
    REAL(optimizer_config, beta2, 0.999, 0, 1, OPEN_MAX, "adamw: decay of the gradient's mean square"),
    REAL(optimizer_config, epsilon, 1e-8, 0, 1, OPEN_MIN, "adamw: least denominator"),
    REAL(optimizer_config, weight_decay, 1e-4, 0, 1e3, 0, "decoupled weight decay, of kernels only"),
    REAL(optimizer_config, clip, 0, 0, 1e9, 0, "largest norm of the whole gradient; 0: no limit"),
};
TABLE(optimizer, optimizer_config);

static const struct field loss_fields[] = {
    TEXT(loss_config, kind, "cross_entropy", "cross_entropy|mean_squared_error", "loss against the labels"),
    REAL(loss_config, label_smoothing, 0, 0, 1, OPEN_MAX,
         "part of a label's weight that is spread over all classes"),
    REAL(loss_config, distillation, -1, -1, 1, 0,
         "weight of the source's outputs; the labels have the rest; below 0: found by trials"),
    REAL(loss_config, temperature, 0, 0, 1e3, 0, "divides the logits in distillation; 0: found by trials"),
};
TABLE(loss, loss_config);

static const struct field slices_fields[] = {
    TEXT(slices_config, stages, "", NULL,
         "slices and ranks of each stage, \"3:1 5:1\"; or how many stages, \"2\", or empty, any number, by "
         "what "
         "slices take, measured"),
    INT(slices_config, micro_batches, 0, 0, 65536,
        "parts of a batch, which it must be a multiple of; 0: 8 for joint, 4 for blockwise training, or "
        "fewer"),
    REAL(slices_config, progressive, 0.5, 0, 1, 0,
         "blockwise: part of the steps in which slice after slice comes to take the target's own activations "
         "instead of the source's; 0: they take the source's"),
    TEXT(slices_config, cache, "auto", "auto|on|scratch|off",
         "without augmentation: keep what the source gives for all samples, in memory or in the scratch "
         "folder; auto: if it fits half of what is free there, memory first"),
    TEXT(slices_config, scratch, "", NULL,
         "a folder, best on a disk of each node, for what slices.cache keeps; empty: memory only"),
    REAL(slices_config, rank_mib, 0, 0, 1e9, 0,
         "most MiB of parameters and what trains them on a rank; 0: no limit"),
};
TABLE(slices, slices_config);

static const struct field training_fields[] = {
    INT(training_config, epochs, -1, -1, 100000,
        "passes over the training samples; 0: no training; -1: as many as help on the hold-out part"),
    INT(training_config, batch, 0, 0, 16777216, "samples of a step, over all ranks; 0: found by speed"),
    REAL(training_config, budget_s, 0, 0, 1e9, 0,
         "most seconds that training takes, with finding its settings; 0: no limit"),
    TEXT(training_config, batch_norm, "batch", "batch|frozen",
         "statistics of batch normalisation: of the batch, or the moving ones"),
    TEXTS(training_config, freeze,
          "layers that are not trained, or not in the first epochs: [\"conv_0\", \"conv_* 2\"]; of several "
          "that fit the last counts"),
    INT(training_config, average, -1, -1, 1e9,
        "steps over which weights are averaged exponentially; 0: no averaging; -1: where it helps on the "
        "hold-out part"),
    TEXT(training_config, way, "auto", "auto|data_parallel|joint|blockwise",
         "how ranks share the work: each has the whole target; slices of it, trained together; slices of it, "
         "each towards the source's activations; auto: data_parallel, or joint if that is measured to be "
         "faster or the target does not fit slices.rank_mib"),
    INT(training_config, blockwise_epochs, 0, 0, 100000,
        "epochs of blockwise training of the slices before the others"),
    OBJECT(training_config, slices, "joint and blockwise training"),
    OBJECT(training_config, schedule, "learning rate"),
    OBJECT(training_config, optimizer, "optimizer"),
    OBJECT(training_config, loss, "loss"),
};
TABLE(training, training_config);

static const struct field config_fields[] = {
    NAME(config, name, "", "name of the model that is made: its folder in the registry"),
    OBJECT_OR_TEXT(config, source, "model", "the source model"),
    TEXT(config, topology, "", NULL, "train: JSON file of the model's topology"),
    TEXT(config, output, "", NULL, "train: file to write; empty: a version in the registry"),
    TEXT(config, models, "models", NULL, "folder of the registry"),
    TEXT(config, runs, "runs", NULL, "folder of the run folders"),
    TEXT(config, engine, "auto", NULL, "what computes: auto (the fastest built in), onednn, openblas"),
    INT(config, threads, 0, 0, 4096, "threads of a rank; 0: cores of the node divided by its ranks"),
    INT(config, seed, 1, 0, LARGEST_INT, "seed of everything random"),
    INT(config, watchdog_s, 600, 0, 1e6,
        "seconds until a rank ends the run that does not answer while others wait for it; longer than any "
        "one "
        "step may take; 0: never"),
    BOOL(config, trace, false,
         "keep what each rank computes, waits for and sends, as trace.json in the run folder"),
    OBJECT(config, data, "data set"),
    OBJECT(config, target, "the model to make from the source"),
    NAMED(config, targets, target, target_config,
          "several targets from one source, in one run: by the names of their models, each with keys of "
          "target, "
          "whose other keys are as they are there: {\"half\": {\"width\": 0.5}, \"fast\": {\"flops\": 0.2}}"),
    OBJECT(config, choose, "which of several targets is published under the configuration's name too"),
    OBJECT(config, migration, "how parameters travel"),
    OBJECT(config, refit, "closed-form repair"),
    OBJECT(config, training, "training, or fine-tuning of the target"),
};
const struct field_table config_table = {config_fields, (int)(sizeof config_fields / sizeof *config_fields)};

static size_t list_choices(const char *choices, char *text) {
    size_t n = (size_t)snprintf(text, FIELD_TEXT_MAX, "one of ");
    for (const char *c = choices; *c;) {
        size_t length = strcspn(c, "|");
        n += (size_t)snprintf(text + n, FIELD_TEXT_MAX - n, "%s\"%.*s\"", c == choices ? "" : ", ",
                              (int)length, c);
        c += length + (c[length] == '|');
    }
    return n;
}

const char *field_allowed(const struct field *field, char *text) {
    switch (field->type) {
    case FIELD_TEXT:
        if (field->choices) list_choices(field->choices, text);
        else snprintf(text, FIELD_TEXT_MAX, "a text");
        break;
    case FIELD_NAME:
        snprintf(text, FIELD_TEXT_MAX, "letters, digits, '.', '_' and '-', not beginning with '.'");
        break;
    case FIELD_TEXTS:
        snprintf(text, FIELD_TEXT_MAX, "a list of texts");
        break;
    case FIELD_NAMED:
        snprintf(text, FIELD_TEXT_MAX, "an object of objects");
        break;
    case FIELD_INT:
        snprintf(text, FIELD_TEXT_MAX, "a whole number from %.16g to %.16g", field->min, field->max);
        break;
    case FIELD_REAL:
        snprintf(text, FIELD_TEXT_MAX, "a number in %c%g, %g%c", field->open & OPEN_MIN ? '(' : '[',
                 field->min, field->max, field->open & OPEN_MAX ? ')' : ']');
        break;
    case FIELD_BOOL:
        snprintf(text, FIELD_TEXT_MAX, "true or false");
        break;
    case FIELD_OBJECT:
        snprintf(text, FIELD_TEXT_MAX,
                 field->plain ? "an object, or the text of its key \"%s\"" : "an object", field->plain);
        break;
    }
    return text;
}
