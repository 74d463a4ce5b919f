#undef VECTOR_BYTES
#undef NAMED_IN_SET

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
