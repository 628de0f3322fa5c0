/* godwit: the table of commands, help and version. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/program.h"
#include "io/config.h"
#include "io/libraries.h"
#include "shared/layer_coverage.h"
#include "shared/nearest.h"
#include "worker/libraries.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command *const commands[] = {
#define COMMAND_ADDRESS(name) &command_##name,
    COMMANDS(COMMAND_ADDRESS)
#undef COMMAND_ADDRESS
};
#define NCOMMANDS ((int)(sizeof commands / sizeof *commands))

static void print_help(void) {
    printf("Usage: godwit COMMAND [ARGUMENT...]\n"
           "       mpirun -n N godwit COMMAND [ARGUMENT...]\n\n"
           "Carries a trained Keras model (HDF5) into a smaller one for cheap processors.\n\nCommands:\n");
    for (int i = 0; i < NCOMMANDS; i++) printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("  %-10s %s\n", "help",
           "help COMMAND: its arguments; help config, layers, aliases, program: see below");
    printf("\nMODEL is a file or folder with a Keras model (.h5, .hdf5, .keras, .weights.h5, a folder of "
           "TensorFlow.js),\nor NAME[:VERSION] in the registry (GODWIT_MODELS, by default ./models).\n\n"
           "Help topics:\n"
           "  config     every key of the configuration\n"
           "  layers     which layers are known, can be trained, and what they were compared with\n"
           "  aliases    how custom layers that are simple arithmetic are declared\n"
           "  program    the language of migration programs and its transforms\n\nExit codes:\n");
#define PRINT_CODE(name, exit_code, meaning) printf("  %3d  %s\n", exit_code, meaning);
    STATUS_CODES(PRINT_CODE)
#undef PRINT_CODE
    printf("\ngodwit --version prints the versions of godwit and of the libraries it uses.\n");
}

static void print_version(void) {
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "", text[LIBRARIES_TEXT_MAX];
    int length = 0;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0';
    printf("godwit %s\n%s\n", GODWIT_VERSION, mpi);
    printf("%s\n", io_libraries(text));
    printf("%s\n", worker_libraries(text));
}

static const struct command *find(const char *name) {
    for (int i = 0; i < NCOMMANDS; i++)
        if (strcmp(name, commands[i]->name) == 0) return commands[i];
    return NULL;
}

/* `what` is what the word should be: a command, or a help topic, which commands are too. */
static int unknown(const char *what, const char *word) {
    static const char *const topics[] = {"help", "config", "layers", "aliases"};
    const char *names[NCOMMANDS + 4];
    int n = 0;
    for (; n < NCOMMANDS; n++) names[n] = commands[n]->name;
    size_t ntopics = strcmp(what, "command") == 0 ? 1 : sizeof topics / sizeof *topics;
    for (size_t i = 0; i < ntopics; i++) names[n++] = topics[i];
    const char *near = nearest_word(word, names, n);
    if (near)
        fprintf(stderr, "godwit: unknown %s \"%s\"; did you mean \"%s\"? (see godwit --help)\n", what, word,
                near);
    else fprintf(stderr, "godwit: unknown %s \"%s\" (see godwit --help)\n", what, word);
    return status_exit_code(STATUS_USAGE);
}

static const char aliases_help[] =
    "A file for --aliases (or source.aliases in a configuration) says which known layers the custom classes "
    "of\n"
    "a model stand for. Custom code is never run. JSON, one member a class:\n\n"
    "  {\"MultiplyBeta\": {\"class_name\": \"Rescaling\", \"config\": {\"scale\": \"$beta:0.2\"}},\n"
    "   \"my_package>MyDense\": {\"class_name\": \"Dense\", \"config\": \"$all\"},\n"
    "   \"Block\": [{\"class_name\": \"Conv2D\", \"config\": {\"filters\": \"$width\", \"kernel_size\": [3, "
    "3]}},\n"
    "             {\"class_name\": \"ReLU\"}]}\n\n"
    "A class is named alone or with its package; a list of layers is called one after the other. In a "
    "config\n"
    "  \"$key\"     is the value in the custom layer's own config, \"$key:0.2\" with a default\n"
    "  \"$all\"     in the place of a config is the custom layer's whole config; as a member, {\"$all\": "
    "true, ...},\n"
    "             it is all of it but for what is said besides\n"
    "  \"$$text\"   is the text \"$text\"; anything else is as it stands\n"
    "Members that begin with \"_\" are comments. godwit help layers lists the known layers; examples are in\n"
    "configs/aliases.\n";

/* Prints a text that was made; returns an exit code. */
static int print_made(status error, char *text) {
    if (!error) {
        fputs(text, stdout);
        free(text);
        return 0;
    }
    fprintf(stderr, "godwit: %s\n", status_message(error));
    int code = status_exit_code(status_code(error));
    status_drop(&error);
    return code;
}

static int help(const char *topic) {
    const struct command *command = topic ? find(topic) : NULL;
    if (!topic || strcmp(topic, "help") == 0) {
        print_help();
    } else if (command) {
        char program[64];
        snprintf(program, sizeof program, "godwit %s", command->name);
        command_help(command, program);
    } else if (strcmp(topic, "config") == 0) {
        char *text = NULL;
        status error = config_describe(&text);
        return print_made(error, text);
    } else if (strcmp(topic, "layers") == 0) {
        char *text = NULL;
        status error = layer_coverage_table(&text);
        return print_made(error, text);
    } else if (strcmp(topic, "program") == 0) {
        char *text = NULL;
        status error = program_describe(&text);
        return print_made(error, text);
    } else if (strcmp(topic, "aliases") == 0) {
        fputs(aliases_help, stdout);
    } else {
        return unknown("help topic", topic);
    }
    return 0;
}

/* What needs no session. Returns an exit code, or -1 if it is a command. */
static int answer(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "godwit: no command given (see godwit --help)\n");
        return status_exit_code(STATUS_USAGE);
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "-?") == 0) return help(NULL);
    if (strcmp(word, "help") == 0) return help(argv[2]);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        print_version();
        return 0;
    }
    return find(word) ? -1 : unknown("command", word);
}

int main(int argc, char **argv) {
    const struct command *command = argc > 1 ? find(argv[1]) : NULL;
    if (command) {
        char program[64];
        snprintf(program, sizeof program, "godwit %s", command->name);
        return command_execute(command, program, argc - 1, argv + 1, argc, argv);
    }
    if (session_launcher_rank() != 0) { /* the first process answers for all */
        fclose(stdout);
        fclose(stderr);
        stdout = fopen("/dev/null", "w");
        stderr = stdout;
        if (!stdout) return 0;
    }
    int code = answer(argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && code == 0) code = status_exit_code(STATUS_IO);
    return code;
}
