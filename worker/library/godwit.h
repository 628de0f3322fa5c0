/* libgodwit: runs trained Keras models from C, C++ and Fortran programs, on the processor, without Python.
 *
 *     godwit_model *model;
 *     godwit_error error;
 *     if (godwit_open("fashion.h5", NULL, &model, &error)) give_up(error.message);
 *     const float *inputs[] = {images};    // (n, 28, 28, 1)
 *     float *outputs[] = {scores};         // (n, 10)
 *     if (godwit_run(model, n, inputs, outputs, &error)) give_up(error.message);
 *     godwit_close(model);
 *
 * Values are float32, dense, row-major, channels last, as in Keras; the first axis is the samples, of which a
 * call takes any number. The first run of a shape of inputs compiles the model for it; the next ones use what
 * was compiled.
 *
 * Threads: all functions may be called by several threads at once, on one model too, but for godwit_close(),
 * after which nobody may use the model. What a call allocates and compiles for itself is kept for the next
 * one, within the bytes that the options say.
 *
 * In a child that the program forks after a run, a model can be run if `threads` is 1: OpenMP's threads do
 * not survive a fork.
 *
 * What the library does to its process: it prints nothing, never ends the process, handles no signals, and
 * leaves the locale, the environment, affinity, and the settings of OpenMP, HDF5 and OpenBLAS as it finds
 * them. Opening a model starts a child process which reads the file, so that a damaged or hostile one does no
 * harm, and waits for it: this library's opens wait for each other, for HDF5 may not be thread-safe; a
 * program that uses HDF5 itself must not do so in another thread meanwhile. While OpenBLAS computes for the
 * library (engine "openblas", and a few layers on any engine), calls of the program to OpenBLAS from other
 * threads use one thread.
 *
 * MPI is not used, but linked, as HDF5 may need it: programs with and without MPI may use the library, before
 * and after MPI_Init. Each process has its own models. */
#ifndef GODWIT_H
#define GODWIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GODWIT_API __attribute__((visibility("default")))
#else
#define GODWIT_API
#endif

/* What functions return: those that godwit's commands end with. */
enum godwit_code {
    GODWIT_OK = 0,
    GODWIT_USAGE = 2,        /* wrong arguments */
    GODWIT_DATA = 65,        /* bad model or data */
    GODWIT_UNSUPPORTED = 69, /* the model needs what the library cannot do */
    GODWIT_INTERNAL = 70,    /* a mistake in the library */
    GODWIT_MEMORY = 71,      /* out of memory */
    GODWIT_IO = 74           /* a file cannot be found or read */
};

/* Why a call failed: one line. Only a call that fails writes it; any may be given NULL in its place. */
#define GODWIT_MESSAGE_MAX 1024
typedef struct godwit_error {
    int code;
    char message[GODWIT_MESSAGE_MAX];
} godwit_error;

/* "0.1.0". Static. */
GODWIT_API const char *godwit_version(void);

/* ---- opening ---- */

typedef struct godwit_model godwit_model;

/* Begin with GODWIT_OPTIONS and set what is to be other than zero. Texts are copied. */
typedef struct godwit_options {
    size_t size;           /* of this struct, for versions of the library to come */
    const char *models;    /* folder of models by name; NULL: $GODWIT_MODELS, else "models" */
    const char *topology;  /* JSON file, for a file with weights only; NULL: none */
    const char *aliases;   /* JSON file that says which layers custom ones stand for; NULL: none */
    const char *engine;    /* "onednn", "openblas"; NULL: the fastest there is */
    const char *precision; /* "float32", "bfloat16", "int8"; NULL: what the model says, if that is faster */
    int threads;           /* that one call may use; 0: as many as OpenMP would in the thread that opens */
    int batch;             /* samples computed at a time, at most; 0: chosen */
    size_t memory;         /* bytes of compiled models to keep; 0: 512 MiB */
} godwit_options;
#define GODWIT_OPTIONS                                                                                       \
    { sizeof(godwit_options), NULL, NULL, NULL, NULL, NULL, 0, 0, 0 }

/* Opens a model: a file or folder (.h5, .hdf5, .keras, .weights.h5, a folder of TensorFlow.js), or
 * NAME[:VERSION] in the folder of models. `options` NULL: all by default. Sets *model, which godwit_close()
 * frees; to NULL on failure. */
GODWIT_API int godwit_open(const char *name, const godwit_options *options, godwit_model **model,
                           godwit_error *error);
GODWIT_API void godwit_close(godwit_model *model); /* accepts NULL */

/* ---- inputs and outputs ---- */

#define GODWIT_RANK_MAX 8
/* The shape of one sample: (28, 28, 1) for images, (1) or () for a number. -1: not known before the inputs
 * are. */
typedef struct godwit_shape {
    int rank;
    int64_t dim[GODWIT_RANK_MAX];
} godwit_shape;

GODWIT_API int godwit_input_count(const godwit_model *model);
GODWIT_API int godwit_output_count(const godwit_model *model);
/* Names of the layers; borrowed. NULL if there is no such input or output. */
GODWIT_API const char *godwit_input_name(const godwit_model *model, int input);
GODWIT_API const char *godwit_output_name(const godwit_model *model, int output);
/* GODWIT_USAGE if there is no such input or output. */
GODWIT_API int godwit_input_shape(const godwit_model *model, int input, godwit_shape *shape);
GODWIT_API int godwit_output_shape(const godwit_model *model, int output, godwit_shape *shape);
/* Shapes of all outputs for inputs of these shapes, none of them unknown any more. */
GODWIT_API int godwit_output_shapes(godwit_model *model, const godwit_shape *inputs, godwit_shape *outputs,
                                    godwit_error *error);
/* Floats of one sample; -1 if not known. */
GODWIT_API int64_t godwit_shape_count(const godwit_shape *shape);

/* ---- running ---- */

/* Computes outputs[i] (samples, shape of output i) of inputs[i] (samples, shape of input i). For models whose
 * inputs have known shapes. */
GODWIT_API int godwit_run(godwit_model *model, int64_t samples, const float *const *inputs,
                          float *const *outputs, godwit_error *error);
/* The same for inputs of the shapes said, all of a call the same. */
GODWIT_API int godwit_run_shapes(godwit_model *model, int64_t samples, const godwit_shape *shapes,
                                 const float *const *inputs, float *const *outputs, godwit_error *error);
/* Compiles what a run of so many samples needs, which then is no slower the first time. `shapes` NULL: the
 * model's. */
GODWIT_API int godwit_prepare(godwit_model *model, int64_t samples, const godwit_shape *shapes,
                              godwit_error *error);

/* ---- images and classes ---- */

/* Names of the classes, where the model's file has them: number (0 if it has none), and name; borrowed, NULL
 * if there is no such class. */
GODWIT_API int godwit_label_count(const godwit_model *model);
GODWIT_API const char *godwit_label(const godwit_model *model, int label);
/* How pixels become inputs: pixel * scale + offset. Nonzero if the model's file says it; else 1/255 and 0.
 * The functions below do all that the file says. */
GODWIT_API int godwit_preprocessing(const godwit_model *model, double *scale, double *offset);

/* An image of 8-bit pixels (height, width, channels), 1 channel (grey) or 3 (RGB), as one sample for a model
 * with one input: made grey or RGB, cropped at its centre and resized as the model needs, and scaled. *shape
 * is the shape of the input; `input` receives it, if it has room for `count` floats: GODWIT_USAGE if not.
 * With count 0 only *shape is set. */
GODWIT_API int godwit_image_input(const godwit_model *model, int64_t height, int64_t width, int channels,
                                  const uint8_t *pixels, godwit_shape *shape, int64_t count, float *input,
                                  godwit_error *error);
/* The same, and runs the model on it: outputs[i] (shape of output i). */
GODWIT_API int godwit_run_image(godwit_model *model, int64_t height, int64_t width, int channels,
                                const uint8_t *pixels, float *const *outputs, godwit_error *error);

#ifdef __cplusplus
}
#endif

#endif
