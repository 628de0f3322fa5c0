#include "coordinator/main_choice.h"

#include "coordinator/choice.h"
#include "io/file.h"
#include "io/provenance.h"
#include "io/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of the version that the model `path` is of, into `folder`, if it has it. */
static status double_file(const char *path, const char *folder, const char *file) {
    char *from = NULL, *to = NULL;
    int length = (int)(strrchr(path, '/') - path);
    if (asprintf(&from, "%.*s/%s", length, path, file) < 0) from = NULL;
    if (asprintf(&to, "%s/%s", folder, file) < 0) to = NULL;
    status error = from && to ? SUCCESS : status_no_memory("a path", strlen(path));
    if (!error && access(from, F_OK) == 0) error = file_double(from, to);
    free(from);
    free(to);
    return error;
}

static status name_provenance(const struct made *made, const char *folder, const char *name,
                              const char *reason) {
    char *from = NULL, *to = NULL;
    int length = (int)(strrchr(made->path, '/') - made->path);
    if (asprintf(&from, "%.*s/model.json", length, made->path) < 0) from = NULL;
    if (asprintf(&to, "%s/model.json", folder) < 0) to = NULL;
    status error = from && to ? SUCCESS : status_no_memory("a path", strlen(folder));
    if (!error) error = provenance_choose(from, to, name, made->name, reason);
    free(from);
    free(to);
    return error;
}

/* Another version of `name`, of the same files; its model.json says which target it is, and why. */
static status publish_as(const char *models, const char *name, const struct made *made, const char *reason,
                         char **folder) {
    static const char *const files[] = {"model.h5", "golden.h5", "plan.txt"};
    struct registry_staging *staging = NULL;
    STATUS_TRY(registry_stage(models, name, &staging));
    const char *stage = registry_staging_folder(staging);
    status error = name_provenance(made, stage, name, reason);
    for (size_t i = 0; i < sizeof files / sizeof *files && !error; i++)
        error = double_file(made->path, stage, files[i]);
    if (!error) error = registry_publish(&staging, folder);
    registry_abandon(&staging);
    return error;
}

static status announce(const struct wave_task *task, const char *name, const struct choice *choice) {
    const struct made *made = &task->made[choice->chosen];
    char *folder = NULL;
    if (*name) STATUS_TRY(publish_as(task->config->models, name, made, choice->reason, &folder));
    printf("\nchosen: %s (%s)\n", made->name, choice->reason);
    if (folder) printf("it is %s/model.h5 too\n", folder);
    LOG_EVENT(task->ground->job.session->log, "chosen", {"target", 0, made->name},
              {"reason", 0, choice->reason}, {"model", 0, made->path});
    free(folder);
    return SUCCESS;
}

status choose_target(const struct wave_task *task, const char *name) {
    int n = task->config->ntargets;
    struct choice choice;
    if (!choice_is_wanted(&task->config->choose)) return SUCCESS;
    struct report_target *target = calloc((size_t)n + 1, sizeof *target);
    if (!target) return status_no_memory("targets", (size_t)n * sizeof *target);
    for (int i = 0; i < n; i++) target[i] = (struct report_target){task->made[i].name, task->made[i].report};
    status error = choice_make(&task->config->choose, n, target, &choice);
    if (!error && choice.chosen >= 0) error = announce(task, name, &choice);
    else if (!error)
        log_line(task->ground->job.session->log, LOG_WARN,
                 "no target keeps to the limits of \"choose\"; \"%s\" comes nearest: %s",
                 target[choice.nearest].name, choice.reason);
    choice_free(&choice);
    free(target);
    return error;
}
