/* What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64. */
#define VECTOR_BYTES 16
#define NAMED_IN_SET(name, precision) name##_plain_##precision
