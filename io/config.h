/* Configuration of a run: JSON, checked strictly against the tables in io/config_schema.c, where every key's
 * type, range, default and explanation stand once. An unknown key, a wrong type or a value out of range is a
 * USAGE error of one line that names the key's path, what is allowed and the nearest known key. */
#ifndef GODWIT_IO_CONFIG_H
#define GODWIT_IO_CONFIG_H

#include "shared/status.h"

#include <stdint.h>

/* Where samples come from; see io/dataset.h. "data" in the configuration. */
struct data_config {
    char *format; /* "auto", "idx", "hdf5", "folder" */
    char *path;   /* folder or file */
    char *x_train, *y_train, *x_test,
        *y_test;   /* data set names in HDF5, file names of IDX; "" = the usual ones */
    char **labels; /* names of classes, may be empty */
    int nlabels;
    double scale, offset; /* x * scale + offset; scale 0: 1/255 for uint8, 1 for float */
    double holdout;       /* fraction of the training samples held out, chosen by seed; -1: automatic */
    char *augment;        /* "auto": tuned, unless flip or shift is set; "given": as flip and shift say */
    bool flip;            /* augmentation: mirror left-right with probability 1/2 */
    int64_t shift;        /* augmentation: shift by up to this many pixels, zeros come in */
    bool in_memory;       /* keep one decoded copy a node */
};

/* The source model of a migration. As a text in the configuration: `model` alone. */
struct source_config {
    char *model;    /* a file or folder, or name[:version] */
    char *topology; /* JSON of its topology, if the model has weights only; "" = it has one */
    char *aliases;  /* JSON that says which known layers custom classes stand for; "" = none */
};

struct schedule_config {
    char *kind;    /* "constant", "cosine", "one_cycle" */
    double rate;   /* peak learning rate; 0: automatic */
    double warmup; /* fraction of the steps spent rising linearly from 0 (constant, cosine) */
    double final;  /* last rate as a fraction of the peak (cosine, one_cycle) */
};

struct optimizer_config {
    char *kind;      /* "sgd", "adamw" */
    double momentum; /* sgd */
    bool nesterov;
    double beta1, beta2, epsilon; /* adamw */
    double weight_decay;          /* decoupled; kernels only */
    double clip;                  /* global norm of the gradient, 0: off */
};

struct loss_config {
    char *kind; /* "cross_entropy", "mean_squared_error" */
    double label_smoothing;
    double distillation; /* weight of the source's outputs against the labels, 0..1; -1: automatic */
    double temperature;  /* 0: automatic */
};

/* Joint and blockwise training. */
struct slices_config {
    char *stages;          /* "slices:ranks ..."; "": by measurement */
    int64_t micro_batches; /* of a batch; 0: 8 for joint and 4 for blockwise training, or as can be divided */
    double progressive;    /* blockwise: part of the steps in which slices begin to take the target's own */
    char *cache;           /* "auto", "on", "scratch", "off": keep what the source gives */
    char *scratch;         /* a folder for it; "": none */
    double rank_mib;       /* most MiB of a rank; 0: no limit */
};

struct training_config {
    int64_t epochs;   /* 0: no training; -1: automatic */
    int64_t batch;    /* global: split over the ranks; 0: automatic */
    double budget_s;  /* most seconds of training, tuning included; 0: no limit */
    char *batch_norm; /* "batch" or "frozen" */
    char **freeze;    /* "layer epochs": not trained, for so many epochs or at all */
    int nfreeze;
    int64_t average; /* steps over which weights are averaged exponentially (decay 1 - 1/steps); 0: off; -1:
                         automatic */
    char *way;       /* "auto", "data_parallel", "joint", "blockwise": how ranks share the work */
    int64_t blockwise_epochs; /* of blockwise training before the others */
    struct slices_config slices;
    struct schedule_config schedule;
    struct optimizer_config optimizer;
    struct loss_config loss;
};

struct target_config {
    char *topology; /* JSON file or model with the target's whole graph; "": none */
    double width;   /* factor on the channels, (0, 1] */
    char **widths;  /* "layer factor": others for some layers */
    int nwidths;
    double params;        /* most parameters; up to 1: a fraction of the source's; 0: no limit */
    double flops;         /* most operations of a sample, likewise */
    double latency_ms;    /* most milliseconds for one sample, on the machine at hand; 0: no limit */
    double latency_ratio; /* the same as a fraction of the source's */
    char **depth;         /* Adds whose residual blocks are left out */
    int ndepth;
    double
        blocks_removed; /* residual blocks left out besides, by measured cost; below 1: a fraction of them */
    char **replace;     /* "layer class multiplier": what takes the place of a layer */
    int nreplace;
    double rank;        /* factor on the rank of kernels, which become products; 1: they stay */
    double rank_energy; /* part of its outputs' variance that a factored layer keeps; 0: ranks are given */
    char **ranks;       /* "layer rank" or "layer factor": others for some layers */
    int nranks;
    int64_t head;    /* classes of a new task; 0: the source's */
    char *precision; /* "float32", "bfloat16", "int8", "int4", also with "_gptq", "int8_affine" */
};

/* Which of several targets is the one: within the limits the best. */
struct choose_config {
    char *by;             /* "accuracy", "params", "flops", "latency"; "auto": as the limits want it */
    double params, flops; /* most; up to 1: fractions of the source's; 0: no limit */
    double latency_ms, latency_ratio;
    double accuracy; /* least */
};

struct refit_config {
    int64_t samples;     /* calibration samples */
    double ridge;        /* relative to the mean diagonal of the Gram matrix; 0: by held-out samples */
    int64_t relu_rounds; /* rounds that mind what follows a layer; 0: plain least squares */
    int64_t sweeps;      /* passes over the layers towards the next layers' outputs */
    char *select;        /* "next_layer", "norm", "first": how channels are chosen */
};

struct migration_config {
    char *mode;       /* "dynamic", "static" */
    double chunk_mib; /* dynamic: most bytes of a chunk */
};

struct config {
    char *name;     /* of the model made: the registry's folder */
    char *topology; /* train: a JSON file of the topology */
    char *output;   /* train: where to write the .h5; "" = the registry */
    char *models;   /* registry's folder */
    char *runs;     /* folder of run folders */
    char *engine;
    int64_t threads; /* a rank; 0: cores / ranks of the node */
    int64_t seed;
    int64_t watchdog_s; /* until a rank that does not answer ends the run; 0: never */
    bool trace;         /* trace.json in the run folder */
    struct source_config source;
    struct data_config data;
    struct target_config target;
    char **targets; /* others in its place, if there are any: see config_of_target() */
    int ntargets;
    struct choose_config choose;
    struct migration_config migration;
    struct refit_config refit;
    struct training_config training;
};

/* Is anything trained? */
static inline bool config_trains(const struct config *config) {
    return config->training.epochs != 0 || config->training.blockwise_epochs > 0;
}

/* Reads and checks a file, resolves nothing. Errors: IO, USAGE. Every field is set, by the file or its
 * default. */
status config_read(const char *path, struct config **config) STATUS_MUST_USE;
status config_parse(const char *json, const char *what, struct config **config) STATUS_MUST_USE;
/* "key.path=value" from the command line (--set training.epochs=3). The value is JSON; a text may do without
 * its quotation marks. After an error the configuration is as before, but for objects, which are partly set.
 */
status config_set(struct config *config, const char *assignment) STATUS_MUST_USE;
/* The configuration of one of several targets, i in [0, config->ntargets): this one, with its name and its
 * target, and no others. Owned. */
status config_of_target(const struct config *config, int i, struct config **of_target) STATUS_MUST_USE;
/* USAGE error with the key's meaning if the text at `path` ("data.path", or "source" for "source.model") is
 * empty. */
status config_require(const struct config *config, const char *path) STATUS_MUST_USE;
/* The effective configuration, all keys, as JSON; owned. */
status config_print(const struct config *config, char **json) STATUS_MUST_USE;
/* A table (Markdown) of all keys, defaults, meanings and ranges, for `godwit help config` and the README;
 * owned. */
status config_describe(char **text) STATUS_MUST_USE;
void config_destroy(struct config **config);

#endif
