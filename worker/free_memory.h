/* Memory that a node has left. */
#ifndef GODWIT_WORKER_FREE_MEMORY_H
#define GODWIT_WORKER_FREE_MEMORY_H

/* Bytes that can be taken without others losing theirs, in memory that ranks share: the less of what is
 * available (/proc/meminfo) and what the file system for shared memory has room for. 0 if it is not known. */
double free_shared_memory(void);

#endif
