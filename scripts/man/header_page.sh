#!/bin/sh
# The manual page of the library, made of the comments and declarations of godwit.h.
#   header_page.sh godwit.h VERSION > page
set -eu
header="$1" version="$2"

cat <<END
.TH GODWIT 3 "" "Godwit $version" "Godwit"
.SH NAME
godwit \\- runs trained Keras models from C, C++ and Fortran programs
.SH SYNOPSIS
.nf
.B #include <godwit.h>
.PP
.B cc program.c \$(pkg\\-config \\-\\-cflags \\-\\-libs godwit)
.fi
.SH DESCRIPTION
END
awk '
function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.'"'"']/) text = "\\&" text
    return text
}
# A comment: text, in which lines indented by four are examples.
function say(text,    line, n, i, example) {
    n = split(text, line, "\n")
    for (i = 1; i <= n; i++) {
        if (line[i] ~ /^    /) {
            if (!example) print ".PP\n.nf"
            example = 1
            print escape(line[i])
            continue
        }
        if (example) print ".fi"
        example = 0
        print line[i] ~ /^ *$/ ? ".PP" : escape(line[i])
    }
}
# Declarations, then what is said of them.
function flush_block() {
    if (code != "") {
        printf ".PP\n.nf\n.ft B\n%s.ft R\n.fi\n", code
        if (comment != "") print ".RS"
    } else if (comment != "") {
        print ".PP"
    }
    say(comment)
    if (code != "" && comment != "") print ".RE"
    code = comment = ""
}
/^\/\* ---- / { flush_block(); title = $0; gsub(/^\/\* ---- | ---- \*\/$/, "", title); print ".SH " toupper(title); next }
/^\/\*/ { flush_block(); inside = 1; sub(/^\/\* ?/, "") }
inside {
    ends = sub(/ *\*\/$/, "")
    sub(/^ \* ?/, "")
    comment = comment (comment == "" ? "" : "\n") $0
    if (ends) inside = 0
    next
}
/^ *$/ { flush_block(); next }
/^#define GODWIT_(OPTIONS|[A-Z]+_MAX)/ { sub(/ *\\$/, ""); code = code escape($0) "\n"; next }
/^#|^extern "C"|^}$|^    { sizeof/ { next }
{ sub(/^GODWIT_API /, ""); code = code escape($0) "\n" }
END { flush_block() }' "$header"
cat <<END
.SH FORTRAN
The module godwit has the same functions with Fortran's strings and arrays: use godwit;
cc is gfortran, and the flags are those of pkg\\-config godwit\\-fortran. Its source is godwit.f90.
.SH SEE ALSO
.BR godwit (1),
docs/library.md, and the examples beside it
END
