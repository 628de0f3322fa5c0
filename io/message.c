#include "io/message.h"

#include <stdlib.h>
#include <string.h>

static void append(struct message *m, const void *data, size_t nbytes) {
    if (m->failed) return;
    if (nbytes > MESSAGE_MAX_BYTES - m->size) {
        m->failed = STATUS_MEMORY;
        return;
    }
    if (nbytes > m->room - m->size) {
        size_t room = 2 * m->room > m->size + nbytes ? 2 * m->room : m->size + nbytes + 256;
        unsigned char *grown = realloc(m->data, room);
        if (!grown) {
            m->failed = STATUS_MEMORY;
            return;
        }
        m->data = grown;
        m->room = room;
    }
    if (nbytes) memcpy(m->data + m->size, data, nbytes);
    m->size += nbytes;
}

void message_put_integer(struct message *m, int64_t value) {
    append(m, &value, sizeof value);
}

void message_put_text(struct message *m, const char *text) {
    message_put_integer(m, text ? (int64_t)strlen(text) : -1);
    if (text) append(m, text, strlen(text));
}

int64_t message_get_integer(struct message *m) {
    int64_t value;
    if (!m->failed && m->size - m->at < sizeof value) m->failed = STATUS_DATA;
    if (m->failed) return 0;
    memcpy(&value, m->data + m->at, sizeof value);
    m->at += sizeof value;
    return value;
}

int64_t message_get_within(struct message *m, int64_t low, int64_t high) {
    int64_t value = message_get_integer(m);
    if (!m->failed && (value < low || value > high)) m->failed = STATUS_DATA;
    return m->failed ? low : value;
}

char *message_get_text(struct message *m) {
    int64_t length = message_get_integer(m);
    if (m->failed || length == -1) return NULL;
    if (length < 0 || (uint64_t)length > m->size - m->at ||
        (length && memchr(m->data + m->at, 0, (size_t)length))) {
        m->failed = STATUS_DATA;
        return NULL;
    }
    char *text = malloc((size_t)length + 1);
    if (!text) {
        m->failed = STATUS_MEMORY;
        return NULL;
    }
    if (length) memcpy(text, m->data + m->at, (size_t)length);
    text[length] = 0;
    m->at += (size_t)length;
    return text;
}

status message_check(const struct message *m) {
    if (m->failed == STATUS_MEMORY) return status_no_memory("a message", m->size);
    if (m->failed) return status_fail(STATUS_DATA, "the answer makes no sense");
    return SUCCESS;
}

status message_check_end(const struct message *m) {
    STATUS_TRY(message_check(m));
    return m->at == m->size ? SUCCESS : status_fail(STATUS_DATA, "the answer makes no sense");
}

status message_resize(struct message *m, size_t size) {
    message_clear(m);
    if (size > MESSAGE_MAX_BYTES) return status_fail(STATUS_DATA, "the answer makes no sense");
    m->data = malloc(size + 1);
    if (!m->data) return status_no_memory("a message", size);
    m->size = m->room = size;
    return SUCCESS;
}

void message_clear(struct message *m) {
    free(m->data);
    *m = (struct message){0};
}
