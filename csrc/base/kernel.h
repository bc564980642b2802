/* Marks a function whose loops are compiled for several instruction sets and chosen when the library
 * is loaded. Such functions are serial and work on a range; the parallel loop is around them. */
#ifndef ECG_BASE_KERNEL_H
#define ECG_BASE_KERNEL_H

#if defined(ECG_NO_CLONES) || !defined(__x86_64__) || !defined(__GNUC__) || defined(__clang__)
#define ECG_KERNEL
#else
#define ECG_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

#define ECG_INLINE static inline __attribute__((always_inline))

#endif
