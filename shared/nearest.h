/* "Did you mean": the word of a list that is nearest to a mistyped one. */
#ifndef GODWIT_SHARED_NEAREST_H
#define GODWIT_SHARED_NEAREST_H

/* The element of words[n] with the smallest edit distance to `word` (insertions, deletions, replacements and
 * swaps of neighbours; upper and lower case, '-' and '_' count as equal), or that `word` begins or that
 * begins it; NULL if none is near. Borrowed. */
const char *nearest_word(const char *word, const char *const *words, int n);

#endif
