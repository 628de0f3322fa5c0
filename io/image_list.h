/* Names of images: what a folder, a pattern or a file's name stands for. */
#ifndef GODWIT_IO_IMAGE_LIST_H
#define GODWIT_IO_IMAGE_LIST_H

#include "shared/status.h"

struct image_list {
    int n;
    char **path; /* [n], owned, and so is the list */
};

/* Adds the .png, .jpg and .jpeg files of a folder (but for hidden ones), what a pattern (*.png) finds, or one
 * file whatever its name is, in the order of their names' bytes. DATA error if there are none, IO. */
status image_list_add(struct image_list *list, const char *path) STATUS_MUST_USE;
void image_list_clear(struct image_list *list);

#endif
