#!/bin/sh
# The manual page of a program, made of what its --help prints, so that it is always true.
#   command_page.sh PROGRAM SUMMARY VERSION > page
# For a program that lists commands below "Commands:", their --help as well.
set -eu
program="$1" summary="$2" version="$3"
name="$(basename "$program")"

# Text of --help as troff: options, commands and codes with their descriptions as tagged paragraphs, else paragraphs.
troff() {
    awk '
    function escape(text) {
        gsub(/\\/, "\\e", text)
        gsub(/-/, "\\-", text)
        if (text ~ /^[.'"'"']/) text = "\\&" text
        return text
    }
    /^ *$/ { print ".PP"; tagged = usage = 0; next }
    /^Usage: / || /^  or: / || /^       (mpirun|godwit) / {
        sub(/^ *(Usage|or): */, ""); sub(/^ +/, "")
        print ".br\n.B " escape($0)
        usage = 1
        next
    }
    usage { print ".PP"; usage = 0 }
    /^[A-Z][A-Za-z ]*:$/ { sub(/:$/, ""); print ".SS " $0; next }
    match($0, /^ +[^ ]/) && tagged && RLENGTH > 16 { sub(/^ +/, ""); print escape($0); next }
    /^ +[^ ].*  +[^ ]/ || /^ +-/ {
        sub(/^ +/, "")
        tag = $0; rest = ""
        if (match($0, /   *[^ ]/)) { tag = substr($0, 1, RSTART - 1); rest = substr($0, RSTART); sub(/^ +/, "", rest) }
        print ".TP\n.B " escape(tag)
        if (rest != "") print escape(rest)
        tagged = 1
        next
    }
    { sub(/^ +/, ""); print escape($0); tagged = 0 }'
}

# Words of the section "Commands:" but help, which has no --help of its own.
commands() {
    "$program" --help | awk '/^Commands:/ { on = 1; next } /^ *$/ { on = 0 } on && $1 != "help" { print $1 }'
}

upper="$(echo "$name" | tr '[:lower:]' '[:upper:]')"
printf '.TH %s 1 "" "Godwit %s" "Godwit"\n.SH NAME\n%s \\- %s\n' "$upper" "$version" "$name" "$summary"
printf '.SH SYNOPSIS AND DESCRIPTION\n'
"$program" --help | troff
for command in $(commands); do
    printf '.SH %s %s\n' "$upper" "$(echo "$command" | tr '[:lower:]' '[:upper:]')"
    "$program" "$command" --help | troff
done
printf '.SH SEE ALSO\n.BR godwit (1),\n.BR run_inference (1),\n.BR godwit (3),\nREADME.md and the files beside it\n'
