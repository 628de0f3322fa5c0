/* Says what is on 8-bit grey images: classify MODEL IMAGE.pgm...
 *
 * An image is in the binary "portable grey map" form, as `convert x.png x.pgm` or netpbm's pngtopnm make it.
 * How its pixels become the model's input, and the names of the classes, are stored with the model. */
#include <godwit.h>

#include <stdio.h>
#include <stdlib.h>

#define SIDE_MAX 4096

/* NULL if it is no such file. */
static unsigned char *read_pgm(const char *path, int *height, int *width) {
    FILE *file = fopen(path, "rb");
    unsigned char *pixels = NULL;
    int levels;
    if (!file) return NULL;
    if (fscanf(file, "P5 %d %d %d", width, height, &levels) == 3 && levels == 255 && *width > 0 &&
        *height > 0 && *width <= SIDE_MAX && *height <= SIDE_MAX) {
        size_t n = (size_t)*width * (size_t)*height;
        fgetc(file); /* one white space */
        pixels = malloc(n);
        if (pixels && fread(pixels, 1, n, file) != n) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    return pixels;
}

int main(int argc, char **argv) {
    godwit_model *model;
    godwit_error error;
    godwit_shape classes;
    if (argc < 3) {
        fprintf(stderr, "usage: classify MODEL IMAGE.pgm...\n");
        return 2;
    }
    if (godwit_open(argv[1], NULL, &model, &error)) {
        fprintf(stderr, "classify: %s\n", error.message);
        return error.code;
    }
    godwit_output_shape(model, 0, &classes);
    int64_t n = godwit_shape_count(&classes);
    float *score = n > 0 && godwit_output_count(model) == 1 ? malloc((size_t)n * sizeof *score) : NULL;
    int code = score ? 0 : 1;
    if (code) fprintf(stderr, "classify: %s is no classifier with one output of a known size\n", argv[1]);
    for (int i = 2; i < argc && !code; i++) {
        int height, width, best = 0;
        unsigned char *pixels = read_pgm(argv[i], &height, &width);
        if (!pixels) {
            fprintf(stderr, "classify: %s is not a binary PGM image of at most %d pixels a side\n", argv[i],
                    SIDE_MAX);
            code = 1;
            break;
        }
        code = godwit_run_image(model, height, width, 1, pixels, &score, &error);
        free(pixels);
        if (code) {
            fprintf(stderr, "classify: %s\n", error.message);
            break;
        }
        for (int k = 1; k < n; k++)
            if (score[k] > score[best]) best = k;
        const char *label = godwit_label(model, best);
        printf("%s: class %d, %s, %.1f %%\n", argv[i], best, label ? label : "without a name",
               100 * (double)score[best]);
    }
    free(score);
    godwit_close(model);
    return code;
}
