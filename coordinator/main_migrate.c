/* godwit migrate CONFIG: the main job. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/main_dry_run.h"
#include "coordinator/main_follow.h"
#include "coordinator/main_phases.h"
#include "coordinator/main_targets.h"

struct options {
    struct config_arguments config;
    const char *plan;
    bool dry_run, follow;
    struct follow_options following;
};

enum { EVERY = 256, VERSIONS };

static const struct argp_option argp_options[] = {
    {"plan", 'p', "FILE", 0, "Run the program in FILE instead of the one that the target's settings give", 0},
    {"dry-run", 'n', NULL, 0,
     "Only say what would be done: the program, sizes, and what each rank would read", 0},
    {"follow", 'f', NULL, 0,
     "Watch the source (a file, a folder of checkpoints, or a model in the registry), and make and publish a "
     "new "
     "target whenever another one is there, until SIGTERM",
     0},
    {"every", EVERY, "SECONDS", 0, "With --follow: look so often; 10 if it is not said", 0},
    {"versions", VERSIONS, "N", 0, "With --follow: end after so many targets", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        options->following.every = 10;
        return 0;
    case 'f':
        options->follow = true;
        return 0;
    case EVERY:
        return command_argument_number(state, "--every", arg, 0.01, 86400, &options->following.every);
    case VERSIONS:
        return command_argument_int(state, "--versions", arg, 1, 1000000000, &options->following.versions);
    case ARGP_KEY_END:
        if (options->follow && options->dry_run)
            return command_argument_error(state, "give --follow or --dry-run, not both");
        if (!options->follow && (options->following.versions || options->following.every != 10))
            return command_argument_error(state, "--every and --versions go with --follow");
        return 0;
    case 'n':
        options->dry_run = true;
        return 0;
    case 'p':
        options->plan = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static status run(const struct session *session, const void *options) {
    const struct options *o = options;
    struct migration_run m = {.plan_path = o->plan};
    if (o->dry_run) return dry_run(session, &o->config, o->plan);
    struct config *config = NULL;
    STATUS_TRY(config_load(session->world, &o->config, &config));
    if (config->ntargets && !o->follow && !o->plan) return make_targets(session, config);
    status error = config_require_one_target(config);
    if (error) {
        config_destroy(&config);
        return error;
    }
    error = job_begin(session, config, &m.job);
    if (!error && o->follow) error = follow(&m, &o->following);
    else if (!error) error = run_phases(&m);
    migration_close(&m);
    return job_close(&m.job, error);
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .doc =
        "Carries the source model into a smaller target: compiles a migration program, migrates slice by "
        "slice over the "
        "ranks, refits in closed form, fine-tunes by distillation, evaluates, and publishes the target in "
        "the registry "
        "(or writes the configuration's \"output\"). Without refit and training (refit.samples and "
        "training.epochs "
        "0) it "
        "needs no data set and no memory for the models: they are streamed from file to file. Several "
        "targets "
        "(the key targets) are made side by side by groups of ranks.\v"
        "Ends with a table of source against target and the time of each phase. The executed program, "
        "with the chosen "
        "channels and each refit's residual, lies beside the model and in the run folder as plan.txt. "
        "A run that was killed goes on where it was when the same command is started again, on any number of "
        "ranks.",
    .children = (const struct argp_child[]){{&config_argp, 0, NULL, 0}, {0}},
};

const struct command command_migrate = {.name = "migrate",
                                        .summary =
                                            "the main job: source to smaller target, under mpirun or alone",
                                        .parallel = true,
                                        .argp = &argp,
                                        .options_size = sizeof(struct options),
                                        .run = run};
