#include "io/image_list.h"

#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

void image_list_clear(struct image_list *list) {
    for (int i = 0; i < list->n; i++) free(list->path[i]);
    free(list->path);
    *list = (struct image_list){0};
}

static status add(struct image_list *list, const char *path) {
    if ((list->n & (list->n - 1)) == 0) { /* room for a power of two */
        size_t room = list->n ? 2 * (size_t)list->n : 1;
        char **grown = realloc(list->path, room * sizeof *grown);
        if (!grown) return status_no_memory("names of images", room * sizeof *grown);
        list->path = grown;
    }
    list->path[list->n] = strdup(path);
    if (!list->path[list->n]) return status_no_memory("names of images", strlen(path));
    list->n++;
    return SUCCESS;
}

static bool is_image_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static status list_folder(struct image_list *list, const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir) return file_fail("open", folder, errno);
    status error = SUCCESS;
    for (struct dirent *e = readdir(dir); e && !error; e = readdir(dir)) {
        char *path = NULL;
        if (e->d_name[0] == '.' || !is_image_name(e->d_name)) continue;
        if (asprintf(&path, "%s/%s", folder, e->d_name) < 0) {
            error = status_no_memory("a path", strlen(folder));
            break;
        }
        if (!is_folder(path)) error = add(list, path);
        free(path);
    }
    closedir(dir);
    return error;
}

static status list_pattern(struct image_list *list, const char *pattern) {
    glob_t found = {0};
    int failed = glob(pattern, GLOB_NOSORT, NULL, &found);
    status error =
        failed && failed != GLOB_NOMATCH
            ? status_fail(STATUS_IO, "cannot list %s; check the permissions of its folder", pattern)
            : SUCCESS;
    for (size_t i = 0; i < found.gl_pathc && !error; i++)
        if (!is_folder(found.gl_pathv[i])) error = add(list, found.gl_pathv[i]);
    globfree(&found);
    return error;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

status image_list_add(struct image_list *list, const char *path) {
    struct stat info;
    int before = list->n;
    if (is_folder(path)) STATUS_TRY(list_folder(list, path));
    else if (stat(path, &info) == 0) STATUS_TRY(add(list, path));
    else if (strpbrk(path, "*?[")) STATUS_TRY(list_pattern(list, path));
    else return file_fail("read", path, errno);
    if (list->n == before)
        return status_fail(STATUS_DATA, "%s has no .png or .jpg images; give a folder or a pattern that has",
                           path);
    qsort(list->path + before, (size_t)(list->n - before), sizeof *list->path, compare_names);
    return SUCCESS;
}
